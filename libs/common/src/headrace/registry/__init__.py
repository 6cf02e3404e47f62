"""The state that `registry.facts` amount to, as a fold for the registry itself and for readers of past states."""

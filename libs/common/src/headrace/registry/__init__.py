"""What `registry.facts` add up to: one fold, for the registry itself and for whoever asks how things stood at some offset."""

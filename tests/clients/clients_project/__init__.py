"""Three models, one per kind of output, for clients that know nothing of Headrace."""

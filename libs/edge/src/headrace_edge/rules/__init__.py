"""What an edge decides: values in, values out."""

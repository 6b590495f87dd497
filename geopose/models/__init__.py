"""Networks: encoders, decoders, heads, and `model.create_model` that joins them."""

"""The networks: encoders, decoders and heads, which `model.create_model` joins, and their checkpoints."""

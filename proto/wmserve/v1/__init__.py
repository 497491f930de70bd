"""Generated from ``world_model.proto``; regenerate with ``make proto``."""

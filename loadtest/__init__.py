"""What is measured through a running server: benchmarks, and success in the environment."""

"""What `make trust` measures, part by part: coverage and ranking of errors, frames unlike the world's, the price."""

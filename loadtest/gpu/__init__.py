"""What planning with a LeWM costs on a GPU: engines, searches captured whole, and the floor they are held against."""

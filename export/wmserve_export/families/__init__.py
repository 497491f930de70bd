"""Model families that can be exported, one adapter each."""

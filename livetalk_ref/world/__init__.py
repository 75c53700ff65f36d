"""The talking-face world: procedural faces, speech and prompts with exact ground truth."""

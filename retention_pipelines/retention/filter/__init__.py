"""The filter grammar: what a policy or hold matches, as text, as a tree, and compiled for each engine."""

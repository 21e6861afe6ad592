"""A document of results, rendered. It sees `trialml.result` and nothing else of the package."""

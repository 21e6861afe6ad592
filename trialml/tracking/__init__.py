"""Results as records in MLflow. It sees `trialml.result` and nothing else of the package."""

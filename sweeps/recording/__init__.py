"""Recording in MLflow. Only this package imports it."""

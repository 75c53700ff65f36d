"""Small networks that are trained here: judges, the restorer."""

"""The engine: how knowledge is transferred from a backbone to a project."""

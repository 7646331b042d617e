"""Default providers of models; one file a provider."""

"""What pipelines are made of; :mod:`memos_integrations.interface.pipeline` is their front."""

"""What is sensitive in a text, and what becomes of it: detectors, a policy, a guard."""

from memos_integrations.operation.sensitive.finding import Detector, Finding
from memos_integrations.operation.sensitive.plugin import presidio
from memos_integrations.operation.sensitive.policy import Action, SensitivePolicy
from memos_integrations.operation.sensitive.rules import rules

__all__ = ["Action", "Detector", "Finding", "SensitivePolicy", "presidio", "rules"]

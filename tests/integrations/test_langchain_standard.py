"""``langchain_tests`` over the tools and the embeddings, without an override of its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSEmbeddings, memory_tools
from memos_integrations.testing import WordEmbedder


class _Tool:
    """One of the four, over a store with one memory."""

    name: str
    arguments: dict[str, Any]
    under_test: BaseTool
    memory_id: str

    @pytest.fixture(autouse=True)
    def _store(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("tools") / "store"
        with MemOS.open(folder, embedder=WordEmbedder()) as memory:
            maya = memory.session("maya")
            cls = type(self)
            cls.memory_id = maya.add("Maya is allergic to walnuts")[0].id
            cls.under_test = next(tool for tool in memory_tools(maya) if tool.name == self.name)
            yield

    @property
    def tool_constructor(self) -> BaseTool:
        return self.under_test

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        id = {"id": self.memory_id} if self.name in ("update_memory", "forget_memory") else {}
        return {**id, **self.arguments}


class _Search(_Tool):
    name, arguments = "search_memory", {"query": "what is she allergic to?", "limit": 3}


class _Save(_Tool):
    name, arguments = "save_memory", {"text": "Maya plays the trumpet"}


class _Update(_Tool):
    name, arguments = "update_memory", {"text": "Maya is allergic to walnuts and plums"}


class _Forget(_Tool):
    name, arguments = "forget_memory", {}


class TestSearchUnit(_Search, ToolsUnitTests): ...


class TestSearchIntegration(_Search, ToolsIntegrationTests): ...


class TestSaveUnit(_Save, ToolsUnitTests): ...


class TestSaveIntegration(_Save, ToolsIntegrationTests): ...


class TestUpdateUnit(_Update, ToolsUnitTests): ...


class TestUpdateIntegration(_Update, ToolsIntegrationTests): ...


class TestForgetUnit(_Forget, ToolsUnitTests): ...


class TestForgetIntegration(_Forget, ToolsIntegrationTests): ...


class _Embeddings:
    @property
    def embeddings_class(self) -> type[MemOSEmbeddings]:
        return MemOSEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": WordEmbedder()}


class TestEmbeddingsUnit(_Embeddings, EmbeddingsUnitTests): ...


class TestEmbeddingsIntegration(_Embeddings, EmbeddingsIntegrationTests): ...


class TestBundledEmbeddings(_Embeddings, EmbeddingsIntegrationTests):
    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {}

"""Suites that prove an implementation: subclass one, say what it claims, run pytest.

    class TestMyStore(StateStoreConformance):
        features = StateStoreFeatures(persistent=True)

        def open(self, folder, names):
            return MyStore(folder, names)

What is not claimed is skipped under its name. A suite counts what it compared and fails if that is nothing.
"""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in ("base", "codec", "killed", "state_store")))

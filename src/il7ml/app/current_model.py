"""The model that answers now: loaded once, replaced when the champion changes, kept when the store is away."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from il7ml.errors import Il7mlError
from il7ml.predictor import Predictor, load_predictor
from il7ml.tracking.location import resolve_uri
from il7ml.tracking.mlflow_client import store_errors
from il7ml.tracking.opening import open_store
from il7ml.tracking.registry import find_version
from il7ml.tracking.store import RegisteredModel

_LOGGER = logging.getLogger("il7ml.app")


@dataclass(frozen=True)
class ModelState:
    """What is loaded, and how the store is.

    Attributes
    ----------
    predictor : Predictor
    registered : RegisteredModel or None
        Name and version in the registry; None for a bundle folder, which is never loaded again.
    loaded : datetime
        When this model was loaded.
    checked : datetime or None
        When the store last named this model; None for a bundle folder.
    refused_since : datetime or None
        Since when the store, or the model that it names, cannot be used; None while all is well.
    """

    predictor: Predictor
    registered: RegisteredModel | None
    loaded: datetime
    checked: datetime | None
    refused_since: datetime | None


class CurrentModel:
    """Holds the model that answers; `refresh` puts another in its place in one step.

    A request takes `state` once and keeps it, so that an answer never comes from two models.

    Parameters
    ----------
    model : str or Path
        As for `load_predictor`.
    uri : str, optional
        Tracking store; by default the project's own.

    Raises
    ------
    InputError
        If the model is not known.
    BundleRefusedError
        If the bundle was altered or is of another version.
    """

    def __init__(self, model: str | Path = "champion", uri: str | None = None) -> None:
        self._model = model
        self._uri = uri
        self._refreshing = threading.Lock()
        now = datetime.now(UTC)
        if isinstance(model, Path) or Path(model).is_dir():
            self._state = ModelState(load_predictor(model), None, now, None, None)
        else:
            registered = self._look_up()
            self._state = ModelState(self._load(registered), registered, now, now, None)

    @property
    def state(self) -> ModelState:
        """The model that answers now, and how the store is."""
        return self._state

    def refresh(self) -> bool:
        """Look whether the store names another model and load it.

        Whatever the store's trouble, the loaded model stays; `state` says since when there is trouble.

        Returns
        -------
        bool
            Whether another model answers now.
        """
        if self._state.registered is None:
            return False
        with self._refreshing:
            return self._refresh()

    def _refresh(self) -> bool:
        before, now = self._state, datetime.now(UTC)
        try:
            registered = self._look_up()
            same = registered == before.registered
            predictor = before.predictor if same else self._load(registered)
        except Il7mlError as error:
            if before.refused_since is None:
                _LOGGER.warning("the loaded model stays in use: %s", error)
            refused_since = before.refused_since or now
            self._state = ModelState(before.predictor, before.registered, before.loaded, before.checked, refused_since)
            return False
        if before.refused_since is not None:
            _LOGGER.info("the store can be used again")
        if not same:
            _LOGGER.info("model %s version %s answers now", registered.name, registered.version)
        self._state = ModelState(predictor, registered, before.loaded if same else now, now, None)
        return not same

    def _look_up(self) -> RegisteredModel:
        # Only the registry is asked: a server's model files would be fetched anew every time.
        uri = resolve_uri(self._uri)
        client = open_store(uri, must_exist=True)
        with store_errors(uri):
            return find_version(client, str(self._model))

    def _load(self, registered: RegisteredModel) -> Predictor:
        return load_predictor(f"models:/{registered.name}/{registered.version}", uri=self._uri)

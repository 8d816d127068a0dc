"""An application that is named as `module:app`: found from the folder that the command is run in."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...http.asgi import Application

__all__ = ["NoApplication", "is_application", "load"]


class NoApplication(ValueError):
    """There is nothing to be served under this name; the text says what helps."""


def is_application(target: str) -> bool:
    """Whether it is written as `module:app`, and no file has this name."""
    return NAMED.fullmatch(target) is not None and not os.path.lexists(target)


def load(target: str) -> Application:
    """The ASGI application `module:app`; what the module itself raises is raised as it is."""
    name, _, attributes = target.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = import_module(name)
    except ModuleNotFoundError as failure:
        # Not what the module imports itself, which it may lack.
        if failure.name is None or not (name == failure.name or name.startswith(f"{failure.name}.")):
            raise
        raise NoApplication(
            f"there is no module {failure.name} in {folder}, and none is installed: run it in the folder of "
            f"{failure.name}.py"
        ) from None
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise NoApplication(f"{name} has no {attribute}{_like(attribute, dir(found))}") from None
    if not callable(found):
        raise NoApplication(f"{target} is no application: ASGI's are called with scope, receive and send")
    if _takes(found, 2):
        raise NoApplication(f"{target} is a WSGI application: wrap it (a2wsgi.WSGIMiddleware), and name what comes out")
    if _takes(found, 0):
        raise NoApplication(f"{target} makes an application: call it in the module, and name what comes out")
    return found


def _like(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""


def _takes(application: object, count: int) -> bool:
    """Whether it is to be called with so many arguments, and no more."""
    from inspect import Parameter, signature

    try:
        parameters = signature(application).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # it does not say
        return False
    plain = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return all(parameter.kind in plain for parameter in parameters) and len(parameters) == count


NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

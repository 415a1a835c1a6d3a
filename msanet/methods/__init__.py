"""Name -> method. A new method is one file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from msanet.errors import InputError
from msanet.methods.alt import ALT
from msanet.methods.dan import DANLosses
from msanet.methods.dda import DDA
from msanet.methods.distill import Distill
from msanet.methods.dlp import DLP
from msanet.methods.fmpn import FMPNLosses
from msanet.methods.gravity import GravityLosses
from msanet.methods.ldl import LDL
from msanet.methods.manet import MANetLoss
from msanet.methods.method import Context, Method, Wrapper
from msanet.methods.mixup import Mixup
from msanet.methods.oadn import OADNLosses
from msanet.methods.pdls import PDLS
from msanet.methods.plain import Plain
from msanet.methods.psr import PSRLoss
from msanet.methods.ran import RANLosses
from msanet.methods.rlps import RLPS
from msanet.methods.scn import SCN
from msanet.methods.svm import SVM
from msanet.networks.network import Network

__all__ = ["METHODS", "Context", "Method", "Wrapper", "complete", "create_method"]

METHODS: dict[str, type[Method]] = {
    "plain": Plain,
    "mixup": Mixup,
    "distill": Distill,
    "scn": SCN,
    "dan": DANLosses,
    "manet": MANetLoss,
    "ran": RANLosses,
    "dlp": DLP,
    "dda": DDA,
    "oadn": OADNLosses,
    "pdls": PDLS,
    "psr": PSRLoss,
    "fmpn": FMPNLosses,
    "svm": SVM,
    "gravity": GravityLosses,
    "rlps": RLPS,
    "alt": ALT,
    "ldl": LDL,
}


def options_of(settings: Mapping[str, Any]) -> BaseModel:
    """The options of a method, checked.

    Args:
        settings: "name" and its options.

    Raises:
        InputError: no such method, or an option or a value that it cannot have.
    """
    name = settings.get("name")
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"there is no method {name!r}: choose one of {', '.join(METHODS)}")
    options = METHODS[name].Options
    try:
        return options(**{key: value for key, value in settings.items() if key != "name"})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(options.model_fields) or "none"
        raise InputError(f"method {name}, option {where}: {first['msg']}; its options: {known}") from None


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method with the defaults of all its options, those of the methods within it too.

    Raises:
        InputError: see `options_of`.
    """
    values = options_of(settings).model_dump(mode="json")
    if issubclass(METHODS[settings["name"]], Wrapper):
        values["inner"] = complete(values["inner"])
    return {"name": settings["name"], **values}


def create_method(settings: Mapping[str, Any], network: Network, context: Context) -> Method:
    """A method by its settings, round a network.

    Raises:
        InputError: see `options_of`; or the method does not train this network.
    """
    options = options_of(settings)
    made = METHODS[settings["name"]]
    if issubclass(made, Wrapper):
        inner = create_method(options.inner, network, context)  # type: ignore[attr-defined]
        return made(inner, options, context)
    return made(network, options, context)

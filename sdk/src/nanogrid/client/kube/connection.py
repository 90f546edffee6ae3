"""Credentials and address of the Kubernetes API, from a kubeconfig or a pod's service account."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import urllib3

from nanogrid.client.configured import header_text, namespace_name, server_url
from nanogrid.client.errors import NotConfigured
from nanogrid.client.kube.kubeconfig import Access, program_of, read, user_of
from nanogrid.types import Json

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ENV_NAMESPACE: Final = "NANOGRID_NAMESPACE"
DEFAULT_PATH: Final = "~/.kube/config"
CONNECTIONS: Final = 32  # idle connections; the asynchronous client has as many threads


@dataclass(frozen=True)
class Connection:
    """Address and credentials of one API server.

    Attributes:
        configuration: of the kubernetes package; it renews tokens by itself. None if the token
            is fixed.
        token: that is fixed; may be empty.
        in_cluster: whether the credentials are a pod's service account.
    """

    host: str
    pool: urllib3.PoolManager
    namespace: str
    configuration: Any
    in_cluster: bool
    kubeconfig: str | None = None
    context: str | None = None
    token: str = ""

    def auth_headers(self) -> dict[str, str]:
        """Authorization for one request; an expired token is renewed first.

        Raises:
            NotConfigured: the credential plugin of the kubeconfig failed, or gave a token that no
                header can have.
        """
        if self.configuration is None:
            return {"authorization": f"Bearer {self.token}"} if self.token else {}
        from kubernetes.config import ConfigException

        try:
            settings = self.configuration.auth_settings()
        except ConfigException as e:
            raise NotConfigured(f"the kubeconfig's credentials cannot be renewed: {e}.") from e
        whose = "the service account" if self.in_cluster else "the program or provider"
        origin = f"the token from {whose} of the Kubernetes configuration"
        headers = {}
        for one in settings.values():
            if one["in"] == "header" and one["value"]:
                scheme, _, token = one["value"].partition(" ")
                headers[one["key"]] = f"{scheme} {header_text(token, origin)}"
        return headers


def connect(
    context: str | None = None, kubeconfig: str | None = None, namespace: str | None = None
) -> Connection:
    """Find the API server: a pod's service account, unless a kubeconfig is given or set.

    Raises:
        NotConfigured: both are missing, or the kubeconfig cannot be used.
        InvalidRequest: no namespace can have the given name.
    """
    explicit = bool(context or kubeconfig or os.environ.get("KUBECONFIG"))
    in_cluster = not explicit and "KUBERNETES_SERVICE_HOST" in os.environ
    path = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_PATH
    if namespace:
        namespace = namespace_name(namespace, "the namespace")
    elif given := os.environ.get(ENV_NAMESPACE):
        namespace = namespace_name(given, f"${ENV_NAMESPACE}")
    try:
        fixed = None if in_cluster else read(path, context, os.environ)
    except (OSError, ValueError) as e:
        raise _unusable(e) from e
    if fixed is not None:
        pool = _pool(fixed)
        chosen = namespace or _of_context(fixed.namespace)
        return Connection(
            fixed.host, pool, chosen, None, False, kubeconfig, context, token=fixed.token
        )
    return _by_package(context, kubeconfig, namespace, in_cluster)


def _pool(access: Access) -> urllib3.PoolManager:
    options: dict[str, Any] = {"ssl_context": access.tls} if access.tls else {}
    options |= {"server_hostname": access.server_name} if access.server_name else {}
    return urllib3.PoolManager(maxsize=CONNECTIONS, **options)


def _by_package(
    context: str | None, kubeconfig: str | None, namespace: str | None, in_cluster: bool
) -> Connection:
    """A connection whose credentials the kubernetes package reads and renews."""
    from kubernetes import client, config
    from kubernetes.client.rest import RESTClientObject

    settings = client.Configuration()
    # Cluster retries. The value is not False, because the library treats it as the int 0.
    settings.retries = None
    settings.connection_pool_maxsize = CONNECTIONS
    try:
        if in_cluster:
            config.load_incluster_config(client_configuration=settings)
            found = _text(SERVICE_ACCOUNT / "namespace")
        else:
            # The library reads KUBECONFIG only once, at its import.
            path = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser(DEFAULT_PATH)
            config.load_kube_config(path, context, client_configuration=settings)
            found = _namespace_of(config, path, context)
            _refuse_failed_program(user_of(_merged(path), context), settings)
        settings.host = server_url(settings.host, "the server of the Kubernetes configuration")
        if str(settings.proxy).startswith("socks") and find_spec("socks") is None:
            hint = "Install it: pip install pysocks. Or use a proxy with http://."
            raise NotConfigured("a proxy with socks:// needs the package pysocks.", hint)
        pool = RESTClientObject(settings).pool_manager
    except (config.ConfigException, OSError, ValueError) as e:
        raise _unusable(e) from e
    except (AttributeError, KeyError, TypeError) as e:  # a field has another type
        raise _unusable(ValueError(f"a field is missing or has a wrong type: {e}")) from e
    chosen = namespace or _of_context(found)
    return Connection(settings.host, pool, chosen, settings, in_cluster, kubeconfig, context)


def _merged(path: str) -> Json:
    """One kubeconfig of several files."""
    from kubernetes.config.kube_config import KubeConfigMerger

    found = KubeConfigMerger(path).config.value
    return {
        key: [getattr(one, "value", one) for one in value] if isinstance(value, list) else value
        for key, value in found.items()
    }


def _refuse_failed_program(user: Json, settings: Any) -> None:
    """The package logs why a program failed, and continues without credentials.

    Raises:
        NotConfigured: the program or provider of a user gave nothing.
    """
    given = any(settings.api_key.values()) or settings.cert_file or settings.username
    if (program := program_of(user)) and not given:
        message = f"'{program}' of the kubeconfig gave no credentials."
        raise NotConfigured(message, "Run it in this shell, for example kubectl get namespaces.")


def _of_context(namespace: str) -> str:
    """The namespace of the context, or the one that Kubernetes has without it."""
    return namespace_name(namespace, "the namespace of the context") if namespace else "default"


def _unusable(error: Exception) -> NotConfigured:
    detail = str(error).rstrip(".")
    hint = "Correct the kubeconfig, or use another one." if isinstance(error, ValueError) else ""
    return NotConfigured(f"no usable Kubernetes configuration: {detail}.", hint)


def _namespace_of(config: Any, path: str, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(path)
    chosen = next((c for c in contexts if c["name"] == context), active)
    return str(chosen.get("context", {}).get("namespace") or "")


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""

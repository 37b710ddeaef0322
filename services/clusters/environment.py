"""The environment of a job on this machine: an allow-list of the service's own variables."""

from collections.abc import Mapping, Sequence

# The variables of the service's environment that a job on this machine gets; SWEEP_JOB_VARIABLES adds more.
VARIABLES = (
    *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "VIRTUAL_ENV", "HOME", "USER", "LOGNAME", "TMPDIR"),
    *("XDG_CACHE_HOME", "LANG", "LANGUAGE", "TZ", "COLUMNS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR"),
    *("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("SWEEP_STORAGE_URL", "SWEEP_UNPACKED_MIB", "MLFLOW_TRACKING_URI"),
)
LOGIN = (  # for MLflow's server, if there is one: a job records its trials itself
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
)


def variables_of_jobs(environment: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """Return the variables for a job: those needed to run and to record, and those named in `more`.

    >>> variables_of_jobs({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "hush", "DATA": "/data"}, ["DATA"])
    {'PATH': '/bin', 'DATA': '/data'}
    """
    server = environment.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    wanted = {*VARIABLES, *more, *(LOGIN if server else ())}
    return {name: value for name, value in environment.items() if name in wanted or name.startswith("LC_")}

"""Downloads: the Hub, registries, the network and the disk they end on."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier

__all__ = ["SIGNATURES"]

_D = Phase.DOWNLOAD

SIGNATURES = (
    Signature(
        "hub-gated",
        (
            r"GatedRepoError",
            r"Cannot access gated repo",
            r"Access to model (?P<repo>\S+) is restricted",
            r"you are not in the authorized list",
            r"awaiting a review from the repo authors",
        ),
        "The repository is gated: its licence must be accepted, and a token sent.",
        (
            "Accept the licence on its page, then set HF_TOKEN or run hf auth login.",
            "In a container, pass the token as a secret.",
        ),
        "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66)",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "hub-token",
        (
            r"Invalid (?:user token|username or password|credentials in Authorization header)",
            r"LocalTokenNotFoundError",
            r"OAuth token.*expired",
            r"Token is required",
            r"invalid token, authentication disabled",
            r"User Access Token .*expired",
        ),
        "The Hugging Face token is missing, wrong or expired.",
        ("Make a new one at huggingface.co/settings/tokens and set HF_TOKEN.",),
        "huggingface_hub.errors.HfHubHTTPError: Invalid user token.",
        phase=_D,
    ),
    Signature(
        "download-denied",
        (
            r"40[13] Client Error",
            r"download failed: .*\(status: 40[13]\)",
            r"failed with status code: 40[13]",
            r"status code 40[13]\b",
            r"HEAD failed, status: 40[13]\b",
            r"server returned (?:HTTP )?40[13]",
            r"curl: \(22\) The requested URL returned error: 40[13]",
            r"\b40[13]: (?:Forbidden|Unauthorized)",
        ),
        "The server refuses the download: the repository is private or gated, or the token is "
        "wrong.",
        ("Set HF_TOKEN to a token that may read it, and accept its licence.",),
        "common_download_file_single_online: download failed: "
        "https://huggingface.co/o/r/resolve/main/"
        "m.gguf (status: 401)",
        phase=_D,
    ),
    Signature(
        "hub-not-found",
        (
            r"RepositoryNotFoundError",
            r"Repository Not Found for url",
            r"RevisionNotFoundError",
            r"(?:Remote)?EntryNotFoundError",
            r"Entry Not Found for url: (?P<url>\S+)",
            r"404 Client Error",
            r"download failed: .*\(status: 404\)",
            r"failed with status code: 404",
            r"curl: \(22\) The requested URL returned error: 404",
            r"\b404: Not Found",
            r"no GGUF files found in repository (?P<repo>\S+)",
            r"pull model manifest: file does not exist",
            r"HFValidationError",
        ),
        "There is no such repository, revision or file on the Hub.",
        (
            "Check the spelling: org/repo, and the exact name of the file.",
            "A private repository looks the same without a token.",
        ),
        "huggingface_hub.errors.RemoteEntryNotFoundError: 404 Client Error. (Request ID: Root=1)",
        phase=_D,
    ),
    Signature(
        "hub-rate-limit",
        (
            r"429 Client Error",
            r"Too Many Requests",
            r"We had to rate limit",
            r"\(status: 429\)",
            r"toomanyrequests",
        ),
        "The server limits how often it is asked.",
        ("Log in (HF_TOKEN, docker login), wait some minutes, and download once to a volume.",),
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "hub-server-error",
        (
            r"50[0234] Server Error",
            r"\(status: 50[0234]\)",
            r"failed with status code: 50[0234]",
            r"Internal Error - We're working hard to fix this",
        ),
        "The server of the download has a fault of its own.",
        ("Try again later; see status.huggingface.co.",),
        "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "hub-offline",
        (
            r"OfflineModeIsEnabled",
            r"HF_HUB_OFFLINE=1",
            r"LocalEntryNotFoundError",
            r"outgoing traffic has been disabled",
        ),
        "The file is not in the local cache, and the Hub is not or cannot be asked.",
        ("Unset HF_HUB_OFFLINE, or mount the cache that holds the file.",),
        "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co: "
        "offline mode "
        "is enabled.",
        phase=_D,
    ),
    Signature(
        "dns-failed",
        (
            r"Temporary failure in name resolution",
            r"Name or service not known",
            r"Failed to resolve '(?P<host>[^']+)'",
            r"getaddrinfo failed",
            r"nodename nor servname provided",
            r"Could not resolve host(?:name)?:? ?(?P<host>\S*)",
            r"lookup (?P<host>\S+)(?: on \S+)?: (?:no such host|i/o timeout|server misbehaving)",
        ),
        "The name of a server cannot be resolved: no network, or no DNS.",
        ("Check the network and DNS of the container, and HTTPS_PROXY where one is needed.",),
        "urllib3.exceptions.NameResolutionError: Failed to resolve 'huggingface.co' ([Errno -3] "
        "Temporary failure in name resolution)",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "certificate",
        (
            r"CERTIFICATE_VERIFY_FAILED",
            r"certificate verify failed",
            r"x509: (?P<why>certificate .+)",
            r"failed to verify certificate",
            r"SSLCertVerificationError",
            r"SSL server verification failed",
        ),
        "The certificate of the server is not trusted: ca-certificates are missing, or a proxy "
        "replaces it.",
        (
            "Install ca-certificates, or point SSL_CERT_FILE to the proxy's own; never switch the "
            "check "
            "off.",
        ),
        "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "unable to get local issuer certificate",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "network-broken",
        (
            r"ReadTimeout",
            r"ReadError\b",
            r"ConnectTimeout",
            r"ConnectError\b",
            r"ConnectionTimeout",
            r"ConnectionError\b",
            r"Max retries exceeded with url",
            r"max retries exceeded$",
            r"max retries exceeded: ",
            r"Connection reset by peer",
            r"Connection aborted",
            r"IncompleteRead",
            r"RemoteProtocolError",
            r"HTTPLIB failed",
            r"net/http: TLS handshake timeout",
            r"unexpected EOF",
            r"ProxyError",
            r"Network is unreachable",
            r"No route to host",
            r"curl: \((?:7|18|28|35|52|56|92)\)",
        ),
        "The connection broke or timed out.",
        ("Try again: downloads resume. Check proxies and firewalls.",),
        "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='huggingface.co', port=443): "
        "Read "
        "timed out.",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_D,
    ),
    Signature(
        "download-incomplete",
        (
            r"Consistency check failed: file should be of size (?P<expected>\d+) but has size",
            r"digest mismatch",
            r"416 Client Error",
            r"Requested Range Not Satisfiable",
            r"\(status: 416\)",
            r"sha256 (?:mismatch|does not match)",
            r"checksum (?:mismatch|failed)",
        ),
        "What was downloaded is not what the server announced.",
        ("Delete the partial file and download it again.",),
        "OSError: Consistency check failed: file should be of size 4683075584 but has size 1048576",
        phase=_D,
    ),
    Signature(
        "xet-failed",
        (
            r"CAS service error",
            r"Data processing error: (?P<why>.+)",
            r"XetError",
            r"hf_xet.*error",
        ),
        "The Xet transfer of the Hub failed.",
        ("Try again, or set HF_HUB_DISABLE_XET=1 for files up to 50 GB.",),
        "RuntimeError: Data processing error: CAS service error : ReqwestMiddleware Error",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "hf-transfer-missing",
        (r"'hf_transfer' package is not available",),
        "HF_HUB_ENABLE_HF_TRANSFER is set but the package is not installed.",
        ("Unset it; hf-xet has taken its place.",),
        "ValueError: Fast download using 'hf_transfer' is enabled (HF_HUB_ENABLE_HF_TRANSFER=1) "
        "but "
        "'hf_transfer' package is not available in your environment.",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "disk-full",
        (
            r"No space left on device",
            r"Disk quota exceeded",
            r"not enough space on the disk",
            r"\[Errno (?:28|122)\]",
            r"Not enough free disk space",
            r"insufficient disk space",
            r"low on resource: ephemeral-storage",
            r"disk is full",
        ),
        "The disk is full.",
        ("Use a larger disk or a volume for models (HF_HOME), and delete what is not needed.",),
        "OSError: [Errno 28] No space left on device",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cache-not-writable",
        (
            r"Permission denied: '(?P<path>[^']*(?:\.cache|huggingface|hub)[^']*)'",
            r"Read-only file system",
            r"failed to create cache directory: (?P<path>.+)",
            r"Failed to determine HF cache directory",
            r"Failed to find \$HOME directory",
        ),
        "The cache of the Hub cannot be written: {path}.",
        ("Set HF_HOME to a folder that the user of the container may write.",),
        "PermissionError: [Errno 13] Permission denied: '/.cache/huggingface'",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "connection-refused",
        (
            r"connection refused",
            r"actively refused it",
            r"could not connect to ollama",
            r"APIConnectionError",
        ),
        "A client cannot reach the server: it is not up yet, or listens elsewhere.",
        ("Wait until /health answers 200; in containers use the service's name, not localhost.",),
        "dial tcp 127.0.0.1:8080: connect: connection refused",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.START,
    ),
    Signature(
        "download-retry",
        (r"retrying after (?P<n>\d+) seconds", r"download received non-successful status code"),
        "A download was interrupted and tried again.",
        (),
        "common_download: retrying after 2 seconds...",
        severity=Severity.REMARK,
        phase=_D,
    ),
    Signature(
        "unauthenticated-hub",
        (r"You are sending unauthenticated requests to the HF Hub",),
        "Without a token the Hub allows fewer and slower requests.",
        ("Set HF_TOKEN.",),
        "Warning: You are sending unauthenticated requests to the HF Hub. Please set a HF_TOKEN",
        severity=Severity.REMARK,
        phase=_D,
    ),
)

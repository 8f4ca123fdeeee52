"""Downloads: the Hub, registries, the network and the disk they end on."""

from __future__ import annotations

from ggufctl.core.signatures.table import (
    Basis,
    Phase,
    Severity,
    Signature,
    Tier,
    Variant,
    exited,
)

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
            r"gated (?:repo|model|repository)",
            r"must (?:be authenticated|have access|accept the (?:license|licence|terms|conditions)"
            r").{0,60}(?:access|repo|model)",
            r"your request to access .{0,80}(?:rejected|pending|awaiting)",
            r"Access denied\. (?:This )?(?:model|dataset|space|repository)\b.{0,120} requires "
            r"approval",
            r"access to (?:this )?(?:model|repo\w*) .{0,80}(?:restricted|gated|requires)",
        ),
        "The repository is gated: its licence must be accepted, and a token sent.",
        (
            "Accept the licence on its page with the account whose token is sent, then set "
            "HF_TOKEN or run hf auth login; a fine-grained token needs the right to read public "
            "gated repositories.",
            "Pass it on: docker run -e HF_TOKEN, a Secret in Kubernetes and on Modal, Colab's "
            "secrets.",
            "Or take a copy that is not gated: GGUF repositories of unsloth, bartowski or "
            "ggml-org mostly are not.",
        ),
        "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66)",
        Basis.REPORTED,
        phase=_D,
    ),
    Signature(
        "hub-token",
        (
            r"Invalid (?:user token|credentials in Authorization header)",
            r"^(?!.{0,400}(?:manifest|HF API)).{0,400}Invalid username or password",
            r"LocalTokenNotFoundError",
            r"OAuth token.*expired",
            r"Token is required",
            r"invalid token, authentication disabled",
            r"User Access Token .*expired",
            r"invalid (?:HF |Hugging ?Face )(?:access )?token\b",
            r"invalid (?:access )token\b(?!\[| id| at| in| for| ''| ')",
            r"^(?!.{0,300}\b(?:JWT|session|CSRF|refresh|bearer|id_token|kube\w*)\b).{0,300}\btoken "
            r"(?:is (?:invalid|expired|not valid)|(?:has )?expired)",
            r"not logged in to hugging ?face",
            r"Not logged in\. Run 'hf auth login'",
            r"enable access to public gated repositories in your fine-grained token",
            r"fine-grained token .{0,80}(?:not|missing|lacks|permission)",
            r"could not read (?:Username|Password) for 'https://huggingface",
            r"Authentication failed for 'https://huggingface",
            r"token .{0,40}(?:has been|was) (?:revoked|deleted)",
            r"token .{0,60}(?:does not have|lacks|without) .{0,40}(?:permission|scope|read)",
        ),
        "The Hugging Face token is missing, wrong or expired.",
        (
            "Make a new one at huggingface.co/settings/tokens and set HF_TOKEN (it wins over hf "
            "auth login: unset a stale one); a fine-grained one needs the right to read gated "
            "repositories.",
            "No spaces, quotes or line end in it, and pass it into the container (-e HF_TOKEN).",
        ),
        "huggingface_hub.errors.HfHubHTTPError: Invalid user token.",
        phase=_D,
        variants=(
            Variant(
                r"Invalid username or password",
                (
                    "Compare OWNER/NAME with the address of its page on the Hub, letter by letter: "
                    "the Hub answers 401 for a repository that does not exist as well.",
                    "If it is private: set HF_TOKEN to a token of an account that may read it, "
                    "without quotes or line end, also in the container (-e HF_TOKEN).",
                    "If HF_TOKEN is set (or hf auth login was called), it may be wrong or expired: "
                    "make a new one at huggingface.co/settings/tokens.",
                ),
                "The Hub answers 401: there is no such repository, or it is private, and the token "
                "is missing or wrong.",
            ),
        ),
    ),
    Signature(
        "key-empty",
        (
            r"'latin-1' codec can't encode character.{0,120}ordinal not in range\(256\)",
            r"Illegal header value b?'Bearer",
            r"header value: '?Bearer",
            r"Invalid (?:leading whitespace|header value|character in header).{0,80}Bearer",
        ),
        "The token or key that is sent is empty, or has a space or line end in it.",
        (
            "Set HF_TOKEN to the token alone (no quotes, no line end: echo -n), or unset it; an "
            "empty variable is not the same as none.",
            "Clients of a local server want any api_key that is not empty.",
        ),
        "httpcore.LocalProtocolError: Illegal header value b'Bearer '",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"latin-1",
                (
                    "Look at the token, key or header: what was copied holds a character "
                    "beyond ASCII (… of a shortened token, a typographic quote, a space); copy "
                    "it anew.",
                ),
                "A token, key or header that is sent holds a character that HTTP does not allow.",
            ),
        ),
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
            r"40[13]:? Forbidden",
            r"40[13]:? Unauthorized",
            r"^(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|manifest))(?=.{0,400}(?:status|"
            r"code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?401\b).{0,400}\b401\b",
            r"^(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|manifest))(?=.{0,400}(?:status|"
            r"code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?403\b).{0,400}\b403\b",
            r"unauthorized: (?:authentication|access)",
            r"^(?!.{0,300}batch response).{0,400}(?<!interactive )(?:authentication|authorizatio"
            r"n) required",
            r"denied: requested access to the resource is denied",
            r"authori[sz]ation failed",
            r"(?:http status|HTTP) code(?: received)?: 40[13]\b",
            r"aria2.{0,40}errorCode=24",
            r"Authorization failed\.",
            r"Username/Password Authentication Failed",
            r"aria2\b.{0,200}status=40[13]\b",
            r"Password authentication in git is no longer supported",
            r"modelscope\.hub\.errors\.NotLogin",
            r"response code: 40[13]",
            r"invalid http status code received: 40[13]",
            r"pull model manifest: 40[13]",
            r"fatal: Authentication failed for",
            r"could not read (?:Username|Password) for",
            r"Permission denied \(publickey\)",
            r"Host key verification failed",
            r"(?:GET|HEAD|POST)\b.{0,60}failed\W{0,3}(?:status: ?)?\(?40[13]\b",
            r"\b(?:GET|POST) failed \(40[13]\)",
        ),
        "The server refuses the download: the repository is private or gated, or the token is "
        "wrong.",
        (
            "Set HF_TOKEN to a token that may read it, and accept its licence.",
            "A signed link that was copied expires: ask for it anew, or download by the "
            "repository's name.",
        ),
        "common_download_file_single_online: download failed: "
        "https://huggingface.co/o/r/resolve/main/"
        "m.gguf (status: 401)",
        phase=_D,
        variants=(
            Variant(
                r"(?:^|\n)curl: \(22\)|Username/Password Authentication Failed|\bwget\b",
                (
                    'curl and wget send no token by themselves: add -H "Authorization: Bearer '
                    '$HF_TOKEN" (wget --header=...), or use hf download, which does; accept the '
                    "licence of the repository first.",
                ),
            ),
            Variant(
                r"registry\.ollama|pull model manifest|\bollama (?:push|pull|run)|^Error: 40[13]",
                (
                    "ollama signin for models that are private or in the cloud; ollama push wants "
                    "the public key (~/.ollama/id_ed25519.pub, or that of the server's user) at "
                    "ollama.com/settings/keys and a name USER/MODEL.",
                    "For a gated GGUF of the Hub add the same key at "
                    "huggingface.co/settings/keys; pull by the exact name.",
                ),
                "Ollama's registry refuses: the model is private, gated, or wants an account.",
            ),
            Variant(
                r"fatal: |unable to access|could not read (?:Username|Password)|git clone",
                (
                    "git does not read HF_TOKEN: git clone "
                    "https://USER:TOKEN@huggingface.co/OWNER/REPO, or better hf download "
                    "OWNER/REPO, which does.",
                    "From CI and shared addresses the Hub limits clones without a token: use "
                    "one, and keep a cache.",
                ),
            ),
            Variant(
                r"hf-mirror|HF_ENDPOINT|modelscope",
                (
                    "Unset HF_ENDPOINT for a gated or private repository: mirrors refuse it "
                    "without a token that huggingface.co knows (HF_TOKEN), and after its licence "
                    "was accepted there.",
                    "Or take a copy that is not gated, of unsloth or bartowski.",
                ),
            ),
            Variant(
                r"llamameta|X-Amz-|Signature=|Expires=|Key-Pair-Id|cdn-lfs|cas-bridge|cloudfront",
                (
                    "The link is signed and its time or count is used up: ask for a new one, or "
                    "start the download from the repository's own address again.",
                    "On the Hub download by name (hf download REPO FILE), not by a copied CDN "
                    "address.",
                ),
            ),
            Variant(
                r"(?:\b403\b.{0,200}huggingface\.co/\S+/resolve|huggingface\.co/\S+/resolve.{0,300}"
                r"\b403\b)",
                (
                    "Open the address in a browser without a login: if it asks for one, accept the "
                    "model's terms there, and set HF_TOKEN to a token that may read it.",
                    "If the repository is public, something in between refuses: a proxy or filter "
                    "of the network, the country, an address that was blocked. Try another network "
                    "or HTTPS_PROXY, a mirror (HF_ENDPOINT), or download it by hand.",
                ),
                "The Hub, or a proxy or filter on the way to it, refuses the download (403).",
            ),
            Variant(
                r"publickey|Host key|git@",
                (
                    "Clone by https instead of ssh: git clone https://huggingface.co/OWNER/REPO, "
                    "or add your key at huggingface.co/settings/keys.",
                ),
            ),
        ),
    ),
    Signature(
        "cloud-credentials",
        (
            r"NoCredentialsError",
            r"Unable to locate credentials",
            r"DefaultCredentialsError",
            r"(?:default|application) credentials (?:were )?not found",
            r"\((?:AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
            r"UnrecognizedClientException|AuthFailure|UnauthorizedOperation)\)",
            r"<Code>(?:AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
            r"AuthenticationFailed)</Code>",
            r"\b(?:PartialCredentialsError|ClientAuthenticationError|InvalidClientTokenId|"
            r"NoCredentialProviders)\b",
            r"\(403\) when calling the \w+ operation",
            r"does not have (?:storage\.\S+|permission) access",
            r"is not authorized to perform: ",
            r"could not find (?:default )?credentials",
        ),
        "The cloud account has no credentials here, or may not read the bucket.",
        (
            "Give the machine a role, or set AWS_ACCESS_KEY_ID, "
            "GOOGLE_APPLICATION_CREDENTIALS or AZURE_STORAGE_KEY; check the bucket's "
            "policy.",
        ),
        "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "hub-not-found",
        (
            r"RepositoryNotFoundError",
            r"^(?:error: )?There is no repository '(?P<repo>[^']+)' on the Hub",
            r"Repository Not Found for url",
            r"RevisionNotFoundError",
            r"(?<!Local)(?:Remote)?EntryNotFoundError",
            r"Entry Not Found for url: (?P<url>\S+)",
            r"404 Client Error(?!.{0,80}//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\S+\.internal|"
            r"192\.168\.|10\.\d))",
            r"download failed: .*\(status: 404\)",
            r"failed with status code: 404",
            r"curl: \(22\) The requested URL returned error: 404",
            r"^(?!.{0,300}\b(?:npm|yarn|pnpm|npmjs|maven|crates\.io|apt|deb|yum|dnf)\b).{0,300}"
            r"404:? Not Found",
            r"no GGUF files found in repository (?P<repo>\S+)",
            r"pull model manifest: file does not exist",
            r"HFValidationError",
            r"is not a valid model identifier",
            r"file '(?P<url>[^']+)' not found in repository",
            r"^(?!.*HEAD (?:failed|invalid))(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|"
            r"manifest))"
            r"(?=.{0,400}(?:status|code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?404\b).{0,400}\b404\b",
            r"(?:repo|repository|model|revision|branch) .{0,120}(?:not found|does not exist|"
            r"doesn't exist).{0,40}(?:hub|hugging ?face|registry)",
            r"no GGUF (?:files?|model|repo\w*|quant\w*) .{0,60}(?:found|in (?:the )?(?:repo\w*|"
            r"hub)|hugging ?face)",
            r"no (?:matching|such) (?:files?|model|repo\w*|quant\w*) .{0,60}(?:in (?:the |this "
            r")?(?:repo\w*|hub)|hugging ?face)",
            r"pull model manifest: .*(?:not found|404|does not exist)",
            r"not a valid quantization scheme",
            r"failed to fetch manifest",
            r"manifest .{0,100}was not found",
            r"no GGUF layer found",
            r"(?:pull|manifest|registr|hugg|download).{0,200}404 page not found",
            r"are you sure there are GGUF files",
            r"(?<!HEAD invalid )(?:http status|HTTP) code(?: received)?: 404\b",
            r"modelscope\.hub\.errors\.NotExistError",
            r"aria2\b.{0,200}errorCode=3\b",
            r"^errorCode=3\b",
            r"HttpSkipResponseCommand.{0,60}Resource not found",
            r"rfilename not found in ggufFile",
            r"\bNoSuchKey\b",
            r"\bNoSuchBucket\b",
            r"remote: Repository not found",
            r"repository 'https?://\S+' not found",
            r"Could not find any file matching",
            r"(?<![$\w])(?:revision|branch|ref) (?!not\b).{1,60}not found",
            # What the hf command says in place of a traceback.
            r"(?:File|Revision) not found in (?:model|dataset|space|repository)\b",
            r"(?-i:(?:Model|Dataset|Space|Repository|Bucket) '[^'/]+/[^']+') not found\.$",
            r"If the (?:repo|bucket) is private, make sure you are authenticated",
            r"Repo id must (?:be|use)\b",
            r"Cannot have -- or \.\. in repo_id",
            r"Repo_id cannot end by",
            r"Invalid rev id",
            r"response code: 404",
            r"No file(?:s)? (?:matched|matching|found matching)",
            r"GET\b.{0,60}failed\W{0,3}(?:status: ?)?\(?404\b",
            r"No file found in (?P<repo>\S+) that match",
            r"Multiple files found in (?P<repo>\S+) matching",
            r"exactly one out metadata, path_model",
            r"\b(?:GET|POST) failed \(404\)",
        ),
        "There is no such repository, revision or file on the Hub.",
        (
            "Check the spelling: org/repo, and the exact name of the file.",
            "A private repository looks the same without a token.",
        ),
        "huggingface_hub.errors.RemoteEntryNotFoundError: 404 Client Error. (Request ID: Root=1)",
        phase=_D,
        variants=(
            Variant(
                r"/resolve/\S{0,300}(?:%2A|\*)",
                (
                    "Write --include before each pattern: hf download REPO --include '*.gguf' "
                    "--include '*.json'; a second one after it is taken for the name of a file, "
                    "and --include is ignored.",
                ),
                "A pattern was taken for the name of a file, and there is none of that name.",
            ),
            Variant(
                r"Revision ?Not ?Found|Revision not found|Invalid rev id|(?:revision|branch|ref) "
                r"\S{1,60} (?:was )?not found",
                (
                    "Name a branch, tag or commit that the repository has: its page lists them "
                    "under Files (main is where most keep everything); without --revision main is "
                    "taken.",
                    "A commit is named by its whole hash, or by its first characters as the Hub "
                    "shows them.",
                ),
            ),
            Variant(
                r"(?:Model|Dataset|Space|Repository|Bucket) '[^']+' not found\.|If the (?:repo|"
                r"bucket) is private|RepositoryNotFoundError|Repository Not Found for url",
                (
                    "Compare OWNER/NAME with the address of its page on the Hub, letter by letter.",
                    "If it is private or gated: hf auth login (or HF_TOKEN) with a token of an "
                    "account that may read it; hf auth whoami shows who is logged in. Without "
                    "that right the Hub answers as if there were none.",
                ),
                "There is no such repository on the Hub, or it is private and the token is "
                "missing or may not read it.",
            ),
            Variant(
                r"Repo id must (?:be in the form|use)|Invalid value\. Repo|Cannot have -- or|"
                r"Repo_id cannot",
                (
                    "Write it as OWNER/NAME, without https://huggingface.co/, /tree/main and the "
                    "like: the file's name follows apart (hf download OWNER/NAME FILE), a folder "
                    "with --include 'FOLDER/*', a revision with --revision.",
                    "A path of this machine is taken for a repository's name where it does not "
                    "exist: check it as the program sees it, and give it absolute.",
                ),
                "What was given is no name of a repository (OWNER/NAME), nor a folder that exists.",
            ),
            Variant(
                r"HFValidationError|not a valid model identifier|Repo id must",
                (
                    "A local path that does not exist is taken for a repository's name: check it "
                    "as the program sees it (mounts, typing, the working folder), and give it "
                    "absolute.",
                    "A repository's name is OWNER/NAME, without https:// and without the file.",
                    "If the name is right, it is private or gated: accept its terms on the Hub, "
                    "and set HF_TOKEN where the program runs (on Modal a Secret).",
                ),
                "What was given is neither a folder that exists nor a repository that can be read.",
            ),
            Variant(
                r"pull model manifest|ollama|registry\.ollama",
                (
                    "Look the name and tag up at ollama.com/library; GGUF of the Hub: ollama "
                    "pull hf.co/OWNER/REPO-GGUF:Q4_K_M, with a quant that the repository has in "
                    "one file.",
                ),
                "Ollama's registry has no model or tag of that name.",
            ),
            Variant(
                r"NoSuchKey|NoSuchBucket|s3",
                (
                    "Check bucket, key and region (aws s3 ls s3://BUCKET/PREFIX), and that the "
                    "endpoint is the right one for a store that is not Amazon's.",
                ),
            ),
            Variant(
                r"raw/main|resolve/|Entry Not Found|EntryNotFound|File not found in",
                (
                    "Take the exact name, upper and lower case, from the repository's Files tab; "
                    "split files are NAME-00001-of-0000N.gguf, some in a folder of the quant.",
                    "The file may have been renamed or replaced: list with hf download REPO "
                    "--include '*.gguf' --dry-run.",
                ),
            ),
            Variant(
                r"fatal: repository|remote: Repository",
                (
                    "Check the address; git asks for a private repository as if it were not "
                    "there without a login.",
                ),
            ),
        ),
    ),
    Signature(
        "release-not-found",
        (
            r"pathspec '(?P<name>[^']+)' did not match any file",
            r"fetch llama\.cpp release info",
            r"api\.github\.com/repos/[^\s'\"]+/releases\S*.{0,80}\b404\b",
            r"\b404\b.{0,120}github\.com/[^\s'\"]+/releases/download",
            r"github\.com/[^\s'\"]+/releases/download/\S+.{0,80}\b404\b",
        ),
        "There is no such release, or no such file in it, on GitHub.",
        (
            "Name a tag that the project's page of releases lists (bNNNN for llama.cpp), and the "
            "file for this system; a program that looks for one itself may need an update.",
        ),
        "Failed to fetch llama.cpp release info RequestError [HttpError]: Not Found",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"pathspec",
                (
                    "git fetch --tags first (a clone with --depth 1 has none: git fetch "
                    "--unshallow --tags), then git tag -l 'b11*' shows the names; branch names "
                    "are written exactly.",
                ),
                "Git knows no branch, tag or file of that name here.",
            ),
        ),
    ),
    Signature(
        "hub-disabled",
        (
            r"DisabledRepoError",
            r"Access to this resource is disabled",
            r"451 (?:Client Error|Unavailable For Legal)",
            r"repo\w* .{0,60}(?:has been disabled|was disabled|taken down)",
        ),
        "The Hub has switched the repository off.",
        ("Use another repository of the same model.",),
        "huggingface_hub.errors.DisabledRepoError: 403 Client Error. (Request ID: Root=1)",
        Basis.SOURCE,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "hub-rate-limit",
        (
            r"429 Client Error",
            r"Too Many Requests",
            r"We had to rate limit",
            r"\(status: 429\)",
            r"toomanyrequests",
            r"with status(?: code)? 429\b",
            r"rate limit(?:ed|s)?(?: reached| exceeded| hit|:|$)",
            r"exceeded (?:the|your) rate limit",
            r"^(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|manifest))(?=.{0,400}(?:status|"
            r"code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?429\b).{0,400}\b429\b",
            r"pull rate limit",
            r"(?:http status|HTTP) code(?: received)?: 429\b",
            r"HTTP 429\b",
            r"HTTP/\S{1,4} 429\b",
            r"status: 429\b",
            r"status 429\b",
            r"status=429\b",
            r"code: 429\b",
            r"code 429\b",
            r"code=429\b",
            r"code\\?\": ?429\b",
            r"status\\?\": ?429\b",
            r"response code: 429",
            r"RateLimitError",
            r"rate[- ]?limit(?:ed|ing)? (?:by|from|error)",
            r"API rate limit",
            r"(?:GET|HEAD|POST)\b.{0,60}failed\W{0,3}(?:status: ?)?\(?429\b",
            r"HTTP Error 429 thrown while requesting",
            r"Rate limited\. Waiting",
        ),
        "The server limits how often it is asked.",
        ("Log in (HF_TOKEN, docker login), wait some minutes, and download once to a volume.",),
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"toomanyrequests|docker|pull rate limit|registry-1|ghcr",
                (
                    "docker login raises the limit (in Kubernetes an imagePullSecret, on Modal a "
                    "registry secret); or pull the image from another registry: "
                    "ghcr.io/ggml-org/llama.cpp, quay.io.",
                ),
                "The registry of images limits pulls without an account.",
            ),
            Variant(
                r"api\.github|API rate limit",
                (
                    "Set GITHUB_TOKEN (or GH_TOKEN) for the program that asks GitHub, or wait an "
                    "hour.",
                ),
                "GitHub limits requests without a token.",
            ),
            Variant(
                r"RateLimitError|openai|litellm|completions",
                (
                    "The server answers 429 as all its slots are busy or a quota is set: raise "
                    "--parallel or the proxy's limits (rpm, tpm in LiteLLM), or let the client "
                    "wait and ask again.",
                ),
                "A server or proxy of models takes no more requests at present.",
            ),
            Variant(
                r"ollama",
                (
                    "Wait some minutes, then pull again: it goes on where it was; OLLAMA_... "
                    "behind one address with many others share its limit.",
                ),
            ),
        ),
    ),
    Signature(
        "hub-server-error",
        (
            r"50[0234] Server Error",
            r"\(status: 50[0234]\)",
            r"failed with status code: 50[0234]",
            r"received unexpected HTTP status: 50[0234]",
            r"Internal Error - We're working hard to fix this",
            r"^(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|manifest))(?=.{0,400}(?:status|"
            r"code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?502\b).{0,400}\b502\b",
            r"^(?=.{0,400}(?:url|download|pull|fetch|hugg|registr|manifest))(?=.{0,400}(?:status|"
            r"code|error|HTTP)\W{0,4}(?:\w+\W{1,2})?504\b).{0,400}\b504\b",
            r"^(?=.{0,400}(?:url|hugg|registr|ollama\.ai|download|pull|blob|manifest|github|pypi|"
            r"conda))"
            r".{0,400}(?:50[24] )?(?:Bad Gateway|Gateway Time-?out)",
            r"(?:http status|HTTP) code(?: received)?: 50[0234]\b",
            r"too many 50[0234] error responses",
            r"HTTP Error 50[0234] thrown while requesting",
            r"response code: 50[0234]",
            r"errorCode=29\b",
            r"(?:GET|POST)\b.{0,60}failed\W{0,3}(?:status: ?)?\(?50[0234]\b",
            r"pull model manifest: 50[0234]",
            r"\b(?:GET|POST) failed \(50[0234]\)",
        ),
        "The server of the download has a fault of its own.",
        ("Try again later; see status.huggingface.co.",),
        "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"registry\.ollama|ollama\.(?:com|ai)\b|pull model manifest",
                (
                    "Try again later, and look at status.ollama.com; a part that arrived is kept.",
                    "If others can pull, a proxy in between answers: check HTTPS_PROXY of ollama "
                    "serve.",
                ),
                "Ollama's registry, or a proxy in front of it, answers with a fault of its own.",
            ),
            Variant(
                r"Amazon|amazonaws|ServerException|googleapis|azure",
                (
                    "Try again later, and look at the provider's health page; another region or "
                    "instance type may work meanwhile.",
                ),
                "The cloud's own service failed.",
            ),
            Variant(
                r"blob|github|docker|ghcr|quay|nvcr|pypi|pythonhosted|conda|debian|ubuntu|models"
                r"cope",
                (
                    "Try again later; its status page says whether it is known "
                    "(githubstatus.com, dockerstatus.com, status.python.org).",
                    "A mirror or a copy of one's own (registry mirror, pip -i) does without it.",
                ),
            ),
        ),
    ),
    Signature(
        "server-error",
        (
            r"\b(?:ollama|chat|completions?|embeddings?|inference|LLM|openai|litellm)\b.{0,60}"
            r"(?:fail\w*|error|exception|API)\b.{0,40}(?:status|code|HTTP|error)\W{0,12}(?:code )?"
            r"\W{0,2}50[0234]\b(?!.{0,200}(?:hugg|registr|manifest|download))",
            r"\b(?:embeddings?|completion|chat)\b.{0,20}error:? ?\{\}",
            r"HTTP Request: POST \S+ \W?HTTP/[\d.]+ 500\b",
            r"50[0234], message='[^']{3,40}', url='https?://\S+/(?:v1|api)/",
            r"ResponseError: .{0,200}\(status code: 50[034]\)$",
            r"\b(?:InternalServerError|APIStatusError): (?:Error code: )?50[0234]\b",
            r"Internal Server Error \(ref: ",
            r"litellm\.(?:InternalServerError|ServiceUnavailableError|BadGatewayError)",
            r"openai\.InternalServerError",
            r"(?:validation|request|call|completions?|chat|embeddings?|invocation|generation) "
            r"failed "
            r"with (?:status|HTTP)\W{0,3}(?:code )?50[0234]\b",
            r"(?:Server error|HTTPStatusError\S*) .{0,30}'?50[034] .{0,200}(?:/v1/|/api/(?:chat|"
            r"gen|embed)|:11434|:8080|:8000|:1234)",
        ),
        "The server of the model answered a request with an error of its own.",
        (
            "Its own log of that moment says why: journalctl -u ollama or ~/.ollama/logs/"
            "server.log, docker logs, kubectl logs, modal app logs; out of memory and a runner "
            "that crashed are the most frequent.",
            "Ask it directly with curl for a short answer: if that works, the length of the "
            "prompt, tools or images are what it fails at; if a proxy answers (502, 503, 504), "
            "name the address in NO_PROXY.",
        ),
        "ValueError: Ollama call failed with status code 500. Details:",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"Internal Server Error \(ref: |ollama\.com|:cloud\b|-cloud\b",
                (
                    "Ollama's cloud has the fault, not this machine: try again later, or name a "
                    "model without -cloud that is pulled here.",
                    "With the ref of the message it can be reported to hello@ollama.com.",
                ),
                "Ollama's cloud answered with an error of its own.",
            ),
            Variant(
                r"50[234]\b|Bad Gateway|Unavailable|Gateway Time",
                (
                    "502, 503 and 504 come from something in front of the server: unset "
                    "HTTP_PROXY and ALL_PROXY for the client or add the address to NO_PROXY "
                    "(localhost,127.0.0.1, the server's own), and ask with curl --noproxy '*'.",
                    "If it is a proxy of yours, the server behind it is not up, still loading, or "
                    "slower than the proxy waits.",
                ),
                "A proxy or gateway answered in place of the server of the model.",
            ),
        ),
    ),
    Signature(
        "hub-offline",
        (
            r"OfflineModeIsEnabled",
            r"HF_HUB_OFFLINE=1",
            r"LocalEntryNotFoundError",
            r"outgoing traffic has been disabled",
            r"couldn't find (?:them|it) in the cached files",
            r"cannot find the (?:requested files|appropriate (?:cached )?snapshot folder)",
            r"required file is not available in cache",
            r"offline mode",
            r"is not cached locally",
            r"RevisionResolutionError",
            r"CacheNotFound\b",
            r"Cannot resolve revision",
        ),
        "The file is not in the local cache, and the Hub is not or cannot be asked.",
        (
            "Unset HF_HUB_OFFLINE (and local_files_only), or mount the cache that holds the file "
            "at "
            "HF_HOME.",
        ),
        "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co: "
        "offline mode "
        "is enabled.",
        phase=_D,
        variants=(
            Variant(
                r"^(?![\s\S]*(?:offline mode|HF_HUB_OFFLINE|outgoing traffic))[\s\S]*(?:trying to "
                r"locate|check your connection|could not be reached|Cannot reach|connection)",
                (
                    "The Hub could not be asked: check network, DNS and HTTPS_PROXY from where "
                    "this runs (curl -I https://huggingface.co); in China set HF_ENDPOINT to a "
                    "mirror.",
                    "If it is meant to work without network, download first (hf download REPO) "
                    "and mount the same HF_HOME; unset HF_HUB_OFFLINE otherwise.",
                ),
                "The file is not in the local cache, and the Hub cannot be reached from here.",
            ),
        ),
    ),
    Signature(
        "hub-mirror",
        (
            r"Distant resource does not (?:seem to be on|have)",
            r"does not seem to be served by a Hugging ?Face",
            r"HF_ENDPOINT\b.{0,80}(?:invalid|fail\w*|error|not|refused)",
        ),
        "What answers at the Hub's address is not the Hub: a mirror, a proxy or a login page.",
        ("Unset HF_ENDPOINT, or correct it; let the proxy pass huggingface.co and its CDN.",),
        "huggingface_hub.errors.FileMetadataError: Distant resource does not seem to "
        "be on huggingface.co. It is possible that a configuration issue prevents you "
        "from downloading resources.",
        Basis.SOURCE,
        phase=Phase.DOWNLOAD,
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
            r"Name does not resolve",
            r"EAI_AGAIN",
            r"ENOTFOUND",
            r"Temporary failure resolving",
            r"DNS (?:lookup|resolution|error|server).{0,40}(?:fail\w*|error|timed out|not found)",
            r"could not resolve (?:host|proxy|address|name|server|the |[\w-]+\.[\w.-]+)",
            r"cannot resolve host",
            r"unable to resolve host",
            r"EAI_NONAME",
            r"Could not resolve hostname",
            r"failed to lookup address information",
            r"ClientConnectorDNSError",
            r"Unknown host(?! CPU)\b",
            r"server can't find ",
            r"未知的名称或服务",
            r"域名解析.{0,10}(?:失败|错误)",
            r"Der Name oder der Dienst ist nicht bekannt",
            r"Nom ou service inconnu",
            r"lookup (?P<host>\S+) on \S+: (?:read|write|dial) udp",
            r"error looking up \S*: ",
            r"Could not resolve name",
        ),
        "The name of a server cannot be resolved: no network, or no DNS.",
        ("Check the network and DNS of the container, and HTTPS_PROXY where one is needed.",),
        "urllib3.exceptions.NameResolutionError: Failed to resolve 'huggingface.co' ([Errno -3] "
        "Temporary failure in name resolution)",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"\[::1\]:53|127\.0\.0\.1:53.{0,40}refused",
                (
                    "Termux and some chroots have no resolver where Go looks: pkg install "
                    "resolv-conf, run it in proot-distro, or write nameserver 1.1.1.1 to "
                    "$PREFIX/etc/resolv.conf.",
                ),
            ),
            Variant(
                r"lookup [a-z][\w-]*(?: on \S+)?: |host(?:name)?: [a-z][\w-]*(?:\s|$)|"
                r"(?:resolve|host) ['\"][a-z][\w-]*['\"]|host [a-z][\w-]*:\d",
                (
                    "A name without a dot is that of another container: put both on one network "
                    "(Compose does so for one file), use the service's name, and wait until it "
                    "runs.",
                ),
                "A host of that short name is not known here.",
            ),
            Variant(
                r"\bhost\.docker\.internal\b",
                (
                    "host.docker.internal: on Linux add "
                    "--add-host=host.docker.internal:host-gateway (extra_hosts in Compose); "
                    "podman has host.containers.internal.",
                ),
            ),
            Variant(
                r"10\.96\.0\.10|svc\.cluster\.local|cluster\.local|kube-dns",
                (
                    "kubectl -n kube-system get pods -l k8s-app=kube-dns must be Running; the "
                    "name is SERVICE.NAMESPACE.svc.cluster.local, and a NetworkPolicy must let "
                    "port 53 out.",
                ),
            ),
            Variant(
                r"github|huggingface|hf\.co|pypi|ollama\.ai|registry|ghcr",
                (
                    "Check the network and DNS of this machine or container (getent hosts "
                    'huggingface.co): set "dns": ["1.1.1.1"] in /etc/docker/daemon.json, in '
                    "WSL [network] generateResolvConf=false and an own /etc/resolv.conf, "
                    "HTTPS_PROXY where only a proxy goes out.",
                    "Notebooks of Kaggle need Internet switched on, compute nodes of clusters a "
                    "download on the login node.",
                ),
            ),
        ),
    ),
    Signature(
        "certificate",
        (
            r"cannot verify .{1,80}certificate",
            r"Unable to locally verify the issuer",
            r"CERTIFICATE_VERIFY_FAILED",
            r"certificate verify failed",
            r"x509: (?P<why>certificate .+)",
            r"failed to verify certificate",
            r"SSLCertVerificationError",
            r"SSL server verification failed",
            r"self[- ]signed certificate",
            r"unable to get (?:local )?issuer certificate",
            r"UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            r"SSL certificate problem",
            r"certificate (?:has expired|is not trusted|signed by unknown|verification failed)",
            r"invalid peer certificate",
            r"server certificate verification failed",
            r"CERT_(?:HAS_EXPIRED|UNTRUSTED)",
            r"SEC_ERROR_\w+",
            r"curl: \((?:60|77|51)\)",
            r"tls: (?:failed to verify|bad certificate|unknown certificate)",
            r"DEPTH_ZERO_SELF_SIGNED_CERT",
            r"SELF_SIGNED_CERT_IN_CHAIN",
            r"unable to load (?:CA|certificate)",
            r"Could not find a suitable TLS CA certificate bundle",
            r"unknown authority",
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
        variants=(
            Variant(
                r"has expired|not yet valid|CERT_HAS_EXPIRED",
                (
                    "Renew the server's certificate, and check the clock of this machine (date); "
                    "an old system needs newer ca-certificates.",
                ),
                "A certificate has expired, or the clock is wrong.",
            ),
            Variant(
                r"invalid path|curl: \(77\)|unable to load CA|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
                (
                    "SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names a file that is "
                    "not there: unset or correct it; else install ca-certificates.",
                ),
                "The file of trusted certificates is missing.",
            ),
            Variant(
                r"Hostname mismatch|certificate is (?:not )?valid for|does not match (?:target "
                r"host|the host|host ?name)|doesn't match|ERR_TLS_CERT_ALTNAME",
                (
                    "Another machine answers under that name: look where it leads (nslookup NAME, "
                    "curl -v https://NAME), and at /etc/hosts, VPN and proxy; use another DNS "
                    "server (1.1.1.1, 8.8.8.8).",
                    "Where the Hub is blocked, name a mirror: HF_ENDPOINT; for a server of one's "
                    "own use the name that its certificate is made for.",
                ),
                "The certificate is for another name: DNS, a proxy or a block leads elsewhere.",
            ),
            Variant(
                r"x509|docker|containerd|registry|ollama",
                (
                    "Add the proxy's certificate to the system's: copy it to "
                    "/usr/local/share/ca-certificates/NAME.crt, update-ca-certificates (RHEL: "
                    "/etc/pki/ca-trust/source/anchors, update-ca-trust), and restart docker, "
                    "containerd or ollama; in an image install ca-certificates.",
                ),
            ),
            Variant(
                r"UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO",
                (
                    "Node.js programs: NODE_EXTRA_CA_CERTS=/path/ca.pem, or --use-system-ca "
                    "(Node 22.15 and later).",
                ),
            ),
            Variant(
                r"SSL server verification|server certificate verification failed|fatal: unable",
                (
                    "git: git config --global http.sslCAInfo /path/ca.pem; llama.cpp: install "
                    "ca-certificates, or SSL_CERT_FILE=/path/ca.pem.",
                ),
            ),
            Variant(
                r"CERTIFICATE_VERIFY_FAILED|SSLCertVerification|certificate verify failed|"
                r"self[- ]signed",
                (
                    "Behind a company proxy give Python its certificate: SSL_CERT_FILE and "
                    "REQUESTS_CA_BUNDLE=/path/ca.pem (pip --cert, conda ssl_verify); pip install "
                    "pip-system-certs takes Windows' own.",
                    "Otherwise the certificates are missing: apt-get install ca-certificates, "
                    "pip install -U certifi; python.org's Python on a Mac: run Install "
                    "Certificates.command.",
                ),
            ),
        ),
    ),
    Signature(
        "tls-refused",
        (
            r"SSLV3_ALERT_HANDSHAKE_FAILURE",
            r"UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
            r"TLSV1_(?:ALERT_PROTOCOL_VERSION|UNRECOGNIZED_NAME)",
            r"(?:unsupported|no) protocol(?: version)?\b.{0,40}(?:ssl|tls)",
            r"tlsv1 alert",
            r"DH_KEY_TOO_SMALL",
        ),
        "Client and server, or a proxy in between, agree on no version or kind of TLS.",
        (
            "Update Python, OpenSSL or the client; an old company proxy that breaks TLS open "
            "must be updated, or pass huggingface.co and its CDN through.",
            "Check that the name asked for is one that the server has a certificate for.",
        ),
        "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure (_ssl.c:1000)",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "tls-plain-http",
        (
            r"Received HTTP/0\.9 when not allowed",
            r"\[SSL\] record layer failure",
            r"wrong version number",
            r"first record does not look like a TLS handshake",
            r"Mixed Content: The page at",
            r"insecure protocol http\b",
            r"packet length too long",
            r"Client sent an HTTP request to an HTTPS server",
            r"plain HTTP request was sent to HTTPS port",
            r"SSL_ERROR_RX_RECORD_TOO_LONG",
            r"ERR_SSL_PROTOCOL_ERROR",
            r"received record with version 3\d\d\d",
        ),
        "One side speaks https, the other plain http.",
        (
            "Write http:// in the client's address, or give the server a certificate "
            "(--ssl-key-file, --ssl-cert-file). Behind a proxy, look at HTTPS_PROXY's own "
            "scheme.",
        ),
        "httpx.ConnectError: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"Mixed Content",
                (
                    "Open the web interface by http as well, or put the engine behind https (a "
                    "reverse proxy, tailscale serve, cloudflared) and name that address.",
                    "Or let the web interface's server ask the engine in place of the browser, "
                    "where it has such a setting.",
                ),
                "The browser blocks a plain http address on a page that came by https.",
            ),
            Variant(
                r"APITimeoutError",
                (
                    "Write http:// in the client's base address (http://HOST:PORT/v1): "
                    "llama-server speaks https only with --ssl-key-file and --ssl-cert-file.",
                    "If it does, or a proxy in front of it: openssl s_client -connect HOST:PORT "
                    "shows whether TLS is answered there.",
                ),
                "The server does not answer the client's TLS handshake: the address begins with "
                "https, and the server mostly speaks plain http.",
            ),
            Variant(
                r"insecure protocol http",
                ("ollama pull --insecure (or push) for a registry without https.",),
            ),
        ),
    ),
    Signature(
        "clock-wrong",
        (
            r"is not valid yet \(invalid for another",
            r"certificate is not yet valid",
            r"RequestTimeTooSkewed",
            r"(?:Signature|Token|token) (?:not yet current|used too early|is not yet valid)",
            r"clock (?:skew|is (?:wrong|off|not synchronized|behind|ahead))",
        ),
        "The clock of this machine is wrong.",
        (
            "Set it: timedatectl set-ntp true; after sleep, restart WSL or Docker's "
            "virtual machine.",
        ),
        "E: Release file for http://archive.ubuntu.com/ubuntu/dists/noble-updates/InRel"
        "ease is not valid yet (invalid for another 3h 12min 1s).",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "network-broken",
        (
            r"SSLZeroReturnError",
            r"BadStatusLine: ",
            r"(?:httpx|httpcore)\.(?:Connect|Write)Timeout:?$",
            r"^Giving up\.",
            r"CMake step for \S*(?:download|clone)\S* failed",
            r"Host is unreachable",
            r"ReadTimeout",
            r"ReadError\b",
            r"ConnectTimeout",
            r"ConnectError\b(?!.{0,200}(?:refused|Errno (?:61|111)|WinError 10061|All connection))",
            r"ConnectionTimeout",
            r"(?<!New)(?<!API)ConnectionError\b(?!.{0,400}(?:localhost|127\.0\.0\.1|\.internal|"
            r"Connection refused|WinError 10061)|"
            r": Connection error\.$)",
            r"^(?!.{0,400}(?:localhost|127\.0\.0\.1|\.internal|Connection refused)).{0,400}"
            r"Max retries exceeded with url",
            r"max retries exceeded$",
            r"max retries exceeded: ",
            r"^(?!.{0,400}127\.0\.0\.1:\d+->127\.0\.0\.1).{0,400}Connection reset by peer",
            r"Connection aborted",
            r"IncompleteRead",
            r"RemoteProtocolError(?!.{0,100}incomplete chunked)",
            r"HTTPLIB failed",
            r"net/http: TLS handshake timeout",
            r"too many failures in parallel",
            r"Failed to fetch:? `?https?://",
            r"maximum redirects exceeded",
            r"\bpart stalled\b",
            r"(?<!running the model: )unexpected EOF(?! while looking)",
            r"ProxyError",
            r"Network is unreachable",
            r"No route to host",
            r"FileMetadataError",
            r"request canceled while waiting for connection",
            r"Client\.Timeout exceeded",
            r"curl: \((?:7|18|28|35|52|56|92)\)(?!.{0,60}(?:localhost|127\.0\.0\.1|0\.0\.0\.0|"
            r"\.internal\b|to 192\.168\.|to 10\.\d|to 172\.))",
            r"ECONNRESET",
            r"ETIMEDOUT",
            r"dial tcp .{0,80}(?:timeout|timed out)",
            r"i/o timeout",
            r"connection (?:attempt )?timed out",
            r"(?<!start )(?<!stop )operation timed out",
            r"read timed out",
            r"(?<!FAILED: )context deadline exceeded",
            r"EOF occurred in violation of protocol",
            r"ChunkedEncodingError",
            r"Connection broken",
            r"connection (?:was )?(?:reset|interrupted|lost)\b",
            r"connection (?:was )?closed (?:unexpectedly|by|before|prematurely)",
            r"^(?!.{0,400}127\.0\.0\.1:\d+->127\.0\.0\.1).{0,400}"
            r"An existing connection was forcibly closed",
            r"E(?:HOST|NET)UNREACH\b",
            r"A connection attempt failed because",
            r"TLS connection was non-properly terminated",
            r"SSL_ERROR_SYSCALL",
            r"(?:SSL|TLS)\S* handshake.{0,40}(?:fail\w*|error|timeout|timed out)",
            r"SSLError",
            r"http client error",
            r"download (?:failed|stalled|interrupted|error)",
            r"error sending request for url",
            r"socket hang up",
            r"proxy (?!error: ).{0,40}(?:refused|failed|error)\b(?!.{0,60}(?:127\.0\.0\.1|"
            r"localhost))",
            r"cannot make GET request",
            r"error occurred while downloading",
            r"curl_easy_perform\(\) failed(?!.{0,20}(?:resolve|refused|certificate))",
            r"cpp-httplib status: ",
            r"CURL failed: ",
            r"Transfer failed for URL",
            r"CondaHTTPError",
            r"HTTP 000 CONNECTION FAILED",
            r"aria2.{0,60}(?:Download aborted|errorCode=[1256]\b)",
            r"errorCode=[1256]\b",
            r"Transferred a partial file",
            r"Server disconnected",
            r"ServerDisconnectedError",
            r"Response payload is not completed",
            r"TransferEncodingError",
            r"peer closed connection(?!.{0,80}incomplete chunked)",
            r"could not connect to the Modal server",
            r"early EOF",
            r"RPC failed; ",
            r"the remote end hung up",
            r"Failed to download(?! and build)",
            r"ClientPayloadError",
            r"net::ERR_\w+",
            r"由于连接方在一段时间后",
            r"远程主机强迫关闭",
            r"连接超时",
            r"连接被重置",
            r"Failed to connect to (?:github|huggingface|pypi|raw\.|cdn|registry|ghcr|"
            r"download|files)\S* port",
            r"RemoteDisconnected",
            # The Hub's client before each of its tries.
            r"(?<!HTTP Error \d{3} )thrown while requesting (?:HEAD|GET|POST)\b",
        ),
        "The connection broke or timed out.",
        (
            "Try again: downloads resume. Check the network with curl -I of the same address.",
            "Behind a proxy set HTTPS_PROXY for the program that downloads; a firewall or VPN "
            "may cut long connections.",
        ),
        "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='huggingface.co', port=443): "
        "Read "
        "timed out.",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_D,
        variants=(
            Variant(
                r"refused\W{1,6}thrown while requesting",
                (
                    "Look what answers there from the same machine or container: curl -I of that "
                    "address. A firewall, a VPN, or an entry of /etc/hosts or of DNS that leads "
                    "elsewhere refuses in place of the Hub.",
                    "Where the network has a proxy: HTTPS_PROXY=http://HOST:PORT for the program "
                    "that downloads; look at HF_ENDPOINT if it is set (a mirror that is not there "
                    "any more: unset it).",
                ),
                "The Hub's address refuses the connection: something in between does, or "
                "HF_ENDPOINT names what does not run.",
            ),
            Variant(
                r"thrown while requesting|while downloading from|/resolve/[^\s/]+/\S+",
                (
                    "Start the same download again: hf download goes on where it stopped. "
                    "HF_HUB_DOWNLOAD_TIMEOUT=60 and HF_HUB_ETAG_TIMEOUT=60 wait longer, "
                    "--max-workers 1 asks for less at once.",
                    "Look whether the address is reached at all, from the same machine or "
                    "container (curl -I); behind a proxy set HTTPS_PROXY. HF_ENDPOINT, if it is "
                    "set, names a mirror in the Hub's place: it may be what breaks off.",
                ),
                "The download from the Hub, or its mirror, broke off or was not answered.",
            ),
            Variant(
                r"(?:host='|//|dial tcp |to )(?:10\.\d|192\.168\.|172\.(?:1[6-9]|2\d|"
                r"3[01])\.).{0,300}"
                r"(?:ConnectTimeout|connect timeout=|i/o timeout|connection timed out)",
                (
                    "Nothing answers at that address: check IP and port with curl from the same "
                    "machine or container, and let the server listen for others (OLLAMA_HOST="
                    "0.0.0.0, --host 0.0.0.0).",
                    "A firewall drops it silently: open the port on the server (Windows: an "
                    "inbound "
                    "rule; ufw allow PORT/tcp; the cloud's security group); in WSL forward it.",
                    "Through a proxy set NO_PROXY to that address; for the internet set "
                    "HTTPS_PROXY.",
                ),
                "No connection comes about: the address is wrong, or a firewall drops it.",
            ),
            Variant(
                r"//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]|host\.docker\.internal|"
                r"192\.168\.|10\.\d)|host='(?:localhost|127\.0\.0\.1)|/v1/(?:chat|completions|"
                r"embed)|/api/(?:chat|generate|embed)|chat/completions|OllamaException|credentials "
                r"validation|(?:LLM|model|AI) provider|base_url|api_base",
                (
                    "It is the server of the model that did not answer or broke off: read its own "
                    "log of that moment (loading, out of memory, a crash), and wait until /health "
                    "or /api/version answers.",
                    "Give the client more time (timeout=600) and let it stream; a proxy in "
                    "between must not take requests to this machine (NO_PROXY).",
                ),
                "The connection to the server of the model broke or timed out.",
            ),
            Variant(
                r"registry\.ollama\.ai|ollama\.(?:com|ai)\b|r2\.cloudflarestorage|pull model "
                r"manifest|ollama (?:pull|run)\b|^Error: max retries exceeded",
                (
                    "Pull again: it goes on where it stopped. If curl -I "
                    "https://registry.ollama.ai/v2/ fails as well, the network blocks it: another "
                    "network, DNS or VPN, or IPv6 switched off.",
                    "Behind a proxy it is the server that must know it, not the shell: "
                    "HTTPS_PROXY (not HTTP_PROXY) in the environment of ollama serve (systemctl "
                    "edit ollama; docker run -e; on Windows and macOS restart the app), with its "
                    "certificate among the system's.",
                    "Or take the same GGUF from the Hub: ollama pull hf.co/OWNER/REPO-GGUF:Q4_K_M, "
                    "or a file and ollama create with FROM ./model.gguf.",
                ),
                "The connection to Ollama's registry broke or timed out.",
            ),
            Variant(
                r"^(?![\s\S]*(?:raw\.githubusercontent|github\.com))[\s\S]*(?:hugg|\bhf\.co|"
                r"hf-mirror|xethub|hf_xet|hf_hub|snapshot_download|on the Hub\b)",
                (
                    "Start the same download again: hf download goes on where it stopped. "
                    "HF_HUB_DOWNLOAD_TIMEOUT=60 and HF_HUB_ETAG_TIMEOUT=60 wait longer, "
                    "--max-workers 1 asks for less at once.",
                    "Where huggingface.co is not reached at all (curl -I https://huggingface.co): "
                    "HTTPS_PROXY, or HF_ENDPOINT=https://hf-mirror.com; then give programs the "
                    "folder that was downloaded.",
                ),
                "The connection to the Hub broke or timed out.",
            ),
            Variant(
                r"pypi|pythonhosted|download\.pytorch|\bpip\b|\buv\b|conda|anaconda",
                (
                    "Try again with more patience: pip install --timeout 120 --retries 10, "
                    "UV_HTTP_TIMEOUT=300 for uv, conda config --set remote_read_timeout_secs 600.",
                    "Behind a proxy set HTTPS_PROXY (for docker build as --build-arg), or use a "
                    "mirror of the index (pip -i, UV_DEFAULT_INDEX).",
                ),
                "The connection to the index of packages broke or timed out.",
            ),
            Variant(
                r"docker\.io|docker\.com|ghcr\.io|quay\.io|nvcr\.io|gcr\.io|\.azurecr|"
                r"Error response from daemon|pull(?:ing)? image|/v2/",
                (
                    "Pull again: layers that arrived are kept. It is the daemon that needs the "
                    "proxy: /etc/systemd/system/docker.service.d/http-proxy.conf with "
                    "HTTPS_PROXY, then systemctl daemon-reload and restart docker (Docker "
                    "Desktop: Settings > Resources > Proxies).",
                    "Where the registry is not reached, set a mirror (registry-mirrors in "
                    "/etc/docker/daemon.json; hosts.toml for containerd) and check DNS and MTU.",
                ),
                "The connection to the registry of images broke or timed out.",
            ),
            Variant(
                r"github|gitlab|git clone|Cloning into|RPC failed|early EOF|hung up",
                (
                    "git clone --depth 1 again; git config --global http.version HTTP/1.1 and "
                    "http.postBuffer 524288000 help where it breaks off.",
                    "Behind a proxy: git config --global http.proxy, HTTPS_PROXY for curl and "
                    "CMake; or download the archive by hand.",
                ),
            ),
        ),
    ),
    Signature(
        "download-incomplete",
        (
            r"BadGzipFile",
            r"tarfile\.ReadError: ",
            r"LZMAError: ",
            r"support byte ranges\. Cannot resume",
            r"unexpected commit digest sha256",
            r"filesystem layer verification failed",
            r"ChecksumMismatchError: Conda",
            r"Consistency check failed: file should be of size (?P<expected>\d+) but has size",
            r"digest mismatch(?!, expected \\?\"sha256)",
            r"416 Client Error",
            r"Requested Range Not Satisfiable",
            r"\(status: 416\)",
            r"sha256 (?:mismatch|does not match)",
            r"DO NOT MATCH THE HASHES",
            r"checksum (?:mismatch|failed)",
            r"hash (?:mismatch|verification failed|does not match)",
            r"SHA-?256 .{0,60}(?:mismatch|does not match|failed|differ)",
            r"SHA mismatch for file",
            r"checksum .{0,60}(?:mismatch|failed|does not match|differ)",
            r"file size mismatch",
            r"(?<!checkpoint )(?<!state )(?<!buffer )size (?:of downloaded file )?(?:mismatch|"
            r"does not match)",
            r"Wheel '.{0,300}is invalid",
            r"(?:File )?is not a zip file",
            r"BadZipFile",
            r"not in gzip format",
            r"unexpected end of (?:archive|data|compressed)",
            r"corrupt(?:ed)? (?:archive|download|zip|wheel)",
            r"integrity check failed",
            r"FileIntegrityError",
            r"download may be incomplete",
            r"HeaderTooLarge",
            r"MetadataIncompleteBuffer",
            r"InvalidHeaderDeserialization",
            r"incorrect (?:header|data) check",
            r"Error -3 while decompressing",
            r"invalid (?:stored block|distance|code lengths)",
            r"(?:Unexpected|unexpected) end of archive",
            r"^Download incomplete",
            r"server doesn't seem to support byte ranges",
            r"CondaVerificationError",
            r"appears to be corrupted\. The path",
            r"ChecksumMismatchError",
        ),
        "What was downloaded is not what the server announced.",
        (
            "Delete the partial file and download it again.",
            "If its sum is the same each time, the list with the sum is out of date: update the "
            "program, or take the file from its source by hand.",
        ),
        "OSError: Consistency check failed: file should be of size 4683075584 but has size 1048576",
        phase=_D,
        variants=(
            Variant(
                r"not in gzip format",
                (
                    "unzip a .zip, tar xf (without z) for the rest; file NAME says what it is: a "
                    "page of HTML is no download, and is fetched again from the right address.",
                ),
                "The archive is of another kind than the command expects.",
            ),
            Variant(
                r"digest sha256|layer verification",
                (
                    "docker pull again; if it stays, docker system prune -a (or crictl rmi "
                    "--prune), and pull without the mirror or proxy in between.",
                ),
                "A layer of the image arrived damaged.",
            ),
            Variant(
                r"byte ranges\. Cannot resume",
                (
                    "Delete the part that is there and download it anew without -C -, or with "
                    "hf download, which resumes.",
                ),
                "The server cannot go on with a download that was begun.",
            ),
            Variant(
                r"DO NOT MATCH THE HASHES",
                (
                    "Write the hash that it got into the requirements file, if the file is what "
                    "you expect: pip hash FILE, pip-compile --generate-hashes or uv pip compile "
                    "--generate-hashes make them anew after each change of a version.",
                    "If that hash is right, what came is not: pip cache purge, and leave out "
                    "mirrors and proxies (--index-url https://pypi.org/simple).",
                ),
                "A package has another hash than the requirements file names for it.",
            ),
        ),
    ),
    Signature(
        "download-locked",
        (
            r"file lock .{0,300}could not be acquired",
            r"Still waiting to acquire lock",
            r"\.lock['\"]? .{0,60}(?:already (?:locked|exists|held)|is held|timed out)",
            r"(?:Resource temporarily unavailable|os error 11).{0,200}\.lock",
            r"filelock\S*\.Timeout",
            r"unable to (?:lock|acquire lock)",
        ),
        "Another download of the same file is running, or one that died left its lock.",
        (
            "Wait for it, or end it and delete the .lock files in the cache (.locks, "
            ".cache/huggingface/download).",
        ),
        "Still waiting to acquire lock on .cache/huggingface/download/x.lock (elapsed: "
        "600.2 seconds)",
        Basis.SOURCE,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "no-file-locks",
        (
            r"\[Errno 524\]",
            r"Unknown error 524",
            r"No locks available",
            r"\[Errno 37\]",
            r"\bENOLCK\b",
            r"flock.{0,60}(?:not supported|Function not implemented|not implemented|Operation "
            r"not supported)",
            r"(?:Function not implemented|Operation not supported).{0,200}\.lock",
        ),
        "The file system of the cache knows no locks, as some network and FUSE mounts.",
        ("Set HF_HOME to a local disk, or mount NFS with its lock daemon (local_lock=all).",),
        "OSError: [Errno 37] No locks available",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "hub-cache-corrupt",
        (
            r"CorruptedCacheException",
            r"broken symlink",
            r"Reference\(s\) refer to missing commit hashes",
            r"cached snapshot .{0,120}is incomplete",
            r"(?:snapshot|refs?|blobs?) (?:dir\w*|folder) .{0,40}(?:corrupt|missing|doesn't "
            r"exist)",
        ),
        "The Hub's local cache is damaged.",
        (
            "Delete the repository's folder in the cache (hf cache rm, ggufctl rm) and "
            "download it again.",
        ),
        "huggingface_hub.errors.CorruptedCacheException: Blob missing (broken "
        "symlink): /cache/blobs/1",
        Basis.SOURCE,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "xet-failed",
        (
            r"CAS service error",
            r"Data processing error: (?P<why>.+)",
            r"XetError",
            r"hf_xet.*error",
            r"(?<!\w)xet(?:-core|hub)?(?!_file)\S* .{0,60}(?:error|failed|panic)",
            r"cas-server\.xethub",
            r"Xet runtime",
            r"cas_client\S*",
            r"hf[-_]xet\S* .{0,60}(?:panicked|failed|error)",
            r"hf-xet-\d+' panicked",
        ),
        "The Xet transfer of the Hub failed.",
        ("Try again, or set HF_HUB_DISABLE_XET=1 for files up to 50 GB.",),
        "RuntimeError: Data processing error: CAS service error : ReqwestMiddleware Error",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"convert value|CompressionScheme|FormatError|deserializ|unknown (?:chunk|format|"
                r"version)",
                (
                    "Update the client: pip install -U huggingface_hub hf-xet, which knows the "
                    "newer form of the data; until then HF_HUB_DISABLE_XET=1.",
                ),
            ),
            Variant(
                r"[Tt]unnel|[Pp]roxy|certificate|handshake|\bdns\b|resolve|Connect\b|timed? ?out|"
                r"TimedOut",
                (
                    "Let the proxy and firewall pass cas-server.xethub.hf.co and "
                    "transfer.xethub.hf.co (HTTPS_PROXY for the client), or go the old way: "
                    "HF_HUB_DISABLE_XET=1, for files up to 50 GB.",
                    "Fewer connections help on slow lines: HF_XET_NUM_CONCURRENT_RANGE_GETS=4 "
                    "(with HF_XET_HIGH_PERFORMANCE unset).",
                ),
            ),
            Variant(
                r"[Pp]ermission denied|os error 13|Read-only|os error 30",
                (
                    "Let the Xet cache be written: HF_HOME or HF_XET_CACHE to a folder of this "
                    "user, and chown what another user left there.",
                ),
            ),
            Variant(
                r"\b40[13]\b|[Uu]nauthorized|[Ff]orbidden",
                (
                    "Set HF_TOKEN to a token that may read the repository, and start again: the "
                    "right to read a file lasts for an hour or so.",
                ),
            ),
        ),
    ),
    Signature(
        "lfs-failed",
        (
            r"smudge filter lfs failed",
            r"Smudge error",
            r"over its data quota",
            r"git-lfs filter-process' failed",
            r"external filter 'git-lfs",
            r"(?:git )?LFS: .{0,120}(?:fail\w*|error|not found|denied)",
            r"batch response: ",
            r"'lfs' is not a git command",
            r"git-lfs: (?:command )?not found",
            r"This repository is configured for Git LFS but 'git-lfs' was not found",
            r"Error downloading object: ",
            r"without having git-lfs installed",
            r"Failed to fetch some objects from",
            r"has exceeded its LFS budget",
        ),
        "git-lfs could not fetch the model files.",
        (
            "Use hf download instead of git clone; otherwise install git-lfs, run git lfs "
            "install and git lfs pull.",
        ),
        "error: external filter 'git-lfs filter-process' failed\nfatal: model.bin: "
        "smudge filter lfs failed",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
        variants=(
            Variant(
                r"data quota|LFS budget",
                (
                    "The owner's allowance of LFS traffic is used up: take the file from another "
                    "place (the Hub: hf download REPO FILE), a release or a mirror, or ask the "
                    "owner.",
                ),
                "The repository's allowance for LFS downloads is used up.",
            ),
            Variant(
                r"Password authentication|Authentication required|HTTP 40[13]",
                (
                    "git takes a token of huggingface.co/settings/tokens as the password: git "
                    "clone https://USER:TOKEN@huggingface.co/OWNER/REPO (HF_TOKEN alone is not "
                    "read by git), or git config --global credential.helper store.",
                    "With ssh add the key at huggingface.co/settings/keys and use "
                    "git@hf.co:OWNER/REPO.",
                    "Or hf download REPO --local-dir DIR, which reads HF_TOKEN.",
                ),
                "git-lfs is not logged in to the Hub.",
            ),
            Variant(
                r"HTTP 5\d\d|HTTP 429|Server error",
                (
                    "Try again later: git lfs pull in the folder continues; for the Hub hf "
                    "download REPO is steadier.",
                ),
                "The server of the LFS files has a fault or limits at present.",
            ),
            Variant(
                r"HTTP 40[45]",
                (
                    "Clone from huggingface.co itself: this mirror or proxy does not pass LFS "
                    "on; or hf download REPO (with HF_ENDPOINT for a mirror of the Hub).",
                ),
            ),
            Variant(
                r"without having git-lfs|'lfs' is not a git|git-lfs: |git-lfs' was not found",
                (
                    "Install git-lfs (apt-get install git-lfs, brew install git-lfs), run git "
                    "lfs install, then git lfs pull in the folder that was cloned.",
                    "Or hf download REPO --local-dir DIR, which needs no git.",
                ),
                "git-lfs is not installed, so the clone holds pointers instead of the files.",
            ),
        ),
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
        "hf-xet-missing",
        (
            r"too large to be downloaded using the regular download method",
            r"you need to install the hf_xet package",
            r"No module named 'hf_xet'",
        ),
        "The file is larger than 50 GB, which the Hub gives only to clients with hf-xet.",
        ("pip install hf-xet, and unset HF_HUB_DISABLE_XET.",),
        "ValueError: The file is too large to be downloaded using the regular download "
        "method.  Install `hf_xet` with `pip install hf_xet` for xet-powered downloads.",
        Basis.SOURCE,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "hub-cli-renamed",
        (
            r"huggingface-cli\W{1,3} is deprecated and no longer works",
            r"huggingface-cli: (?:command )?not found",
            r"'huggingface-cli' is not recognized",
            r"`?hf`?: (?:command )?not found",
            r"(?:\bhf|huggingface-cli)\b.{0,40}No such command",
        ),
        "The command of the Hub's client has another name now, or is not installed.",
        (
            "pip install -U huggingface_hub, and call hf: huggingface-cli download became "
            "hf download.",
        ),
        "Warning: `huggingface-cli` is deprecated and no longer works. Use `hf` instead.",
        Basis.SOURCE,
        phase=Phase.START,
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
            r"no space left",
            r"ENOSPC",
            r"EDQUOT",
            r"(?:not enough|insufficient|out of|low on) (?:free |available )?(?:disk|storage)\b",
            r"not enough (?:free )?space (?:on|in(?! the (?:buffer|context|scratch))|to|for|"
            r"available)",
            r"insufficient (?:free )?space",
            r"There is not enough space",
            r"os error (?:28|112|122)",
            r"disk (?:is )?full",
            r"DiskPressure +True",
            r"had (?:condition|untolerated taint).{0,40}disk-?pressure",
            r"needs? .{0,40}(?:free )?disk space",
            r"ephemeral local storage usage exceeds",
            r"Usage of EmptyDir volume .{0,80}exceeds",
            # With nothing written it is mostly a pipe that its reader closed.
            r"curl: \(23\).{0,80}(?:\([1-9]\d*(?: !=|\))|returned [1-9])",
            r"Cannot write to .{0,200}(?:No space|quota)",
            r"WinError 112\b",
            r"exceed(?:s|ed) (?:the |its )?(?:disk|storage) (?:quota|limit|space)",
            r"inodes? .{0,40}(?:exhausted|full|100%)",
            r"设备上没有空间",
            r"磁盘空间不足",
            r"kein Speicherplatz",
            r"Aucun espace disponible",
            r"No queda espacio",
            r"[Нн]а устройстве не осталось свободного места",
            r"Espace insuffisant",
            r"(?:don't|do not) have enough free space",
            r"running out of disk space",
            r"ImageGCFailed",
            r"FreeDiskSpaceFailed",
            r"Failed to garbage collect required amount of images",
            r"(?:disk space|storage) (?:limit|quota) (?:reached|exceeded)",
        ),
        "The disk is full.",
        ("Use a larger disk or a volume for models (HF_HOME), and delete what is not needed.",),
        "OSError: [Errno 28] No space left on device",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"No space left on device: ?'[^']+' -> '",
                (
                    "df -h of the folder after the arrow: it is the target that is full. Free "
                    "room there (pip cache purge, old environments), or choose another target "
                    "(--target, a virtual environment on a larger disk).",
                    "df -i as well: very many small files use up inodes.",
                ),
                "The disk of the folder that is copied to is full.",
            ),
            Variant(
                r"/home/runner/|hostedtoolcache|_diag/|GITHUB_|actions/",
                (
                    "GitHub's runners have some 14 GB free: as the first step remove what is not "
                    "needed (sudo rm -rf /opt/hostedtoolcache /usr/share/dotnet "
                    "/usr/local/lib/android, or jlumbroso/free-disk-space), then docker builder "
                    "prune between builds.",
                    "Or build on a larger or self-hosted runner, in several smaller stages.",
                ),
                "The disk of the CI runner is full.",
            ),
            Variant(
                r"ephemeral|Evicted|DiskPressure|disk-?pressure|ImageGC|FreeDiskSpace|EmptyDir|"
                r"garbage collect",
                (
                    "Put models on a PersistentVolumeClaim instead of the container's own disk "
                    "or an emptyDir, and give the pod resources.requests and limits of "
                    "ephemeral-storage for the rest.",
                    "On the node free images (crictl rmi --prune), or take a larger disk.",
                ),
                "The node's own disk is full, or the pod's share of it.",
            ),
            Variant(
                r"overlay2|/var/lib/docker|/var/lib/containers|containerd|GetImageBlob|"
                r"register layer|extract layer|buildkit|failed to solve|desc = write|loading layer",
                (
                    "docker system df shows what takes room: docker system prune -a --volumes, "
                    "docker builder prune (podman system prune -a); or move data-root in "
                    "/etc/docker/daemon.json to a larger disk.",
                    "Docker Desktop: raise the size of its disk in Settings > Resources. Keep "
                    "models out of images: mount them.",
                ),
                "The disk of the container runtime is full.",
            ),
            Variant(
                r"free disk space to download the file|[\\/]hub[\\/]models--",
                (
                    "Let the Hub's cache lie on a larger disk (HF_HOME, or hf download "
                    "--local-dir), or free room in it: hf cache ls, hf cache rm and hf cache prune "
                    "(before 1.0 huggingface-cli delete-cache).",
                ),
                "The disk of the Hub's cache is full.",
            ),
            Variant(
                r"[Pp]ip|wheel|/tmp|TMPDIR|tmpfs|build",
                (
                    "Let temporary files go elsewhere: TMPDIR=/var/tmp (or a folder on a larger "
                    "disk) for pip and builds, with pip install --no-cache-dir; /tmp may be a "
                    "small RAM disk.",
                    "df -h shows whether it is instead the disk of the environment, of --target "
                    "or of the build folder that is full: free room there.",
                ),
            ),
            Variant(
                r"/dev/shm",
                ("docker run --shm-size 1g, or an emptyDir with medium Memory on /dev/shm.",),
            ),
            Variant(
                r"quota|Errno 122|EDQUOT|os error 122",
                (
                    "Your quota is used up, not the disk: set HF_HOME (and OLLAMA_MODELS, "
                    "PIP_CACHE_DIR) to a scratch or project folder; quota -s, hf cache ls and du "
                    "show what takes room.",
                ),
                "The quota of this user or project is used up.",
            ),
            Variant(
                r"[A-Z]:\\|WinError|os error 112",
                (
                    "Set HF_HOME (or OLLAMA_MODELS) to a folder of a larger drive (setx HF_HOME "
                    "D:\\hf), and delete what is not needed (hf cache rm, ollama rm).",
                ),
            ),
            Variant(
                r"\.ollama|ollama",
                (
                    "Put the models on a larger disk: OLLAMA_MODELS=/data/ollama (for the "
                    "service: systemctl edit ollama; in a container -v "
                    "/data/ollama onto its .ollama folder), and ollama rm what is not needed.",
                ),
            ),
            Variant(
                r"inode",
                (
                    "Inodes are used up, not bytes: df -i; delete folders with very many small "
                    "files (pip and conda caches, node_modules, old images).",
                ),
            ),
        ),
    ),
    Signature(
        "file-size-limit",
        (
            r"File size limit exceeded",
            r"\bSIGXFSZ\b",
            exited(153),
            r"\[Errno 27\]",
            r"\bEFBIG: ",
            r"File too large(?: \(os error 27\))?$",
        ),
        "A file grew beyond what may be written: a limit of the shell or service, or of the disk.",
        (
            "ulimit -f shows the limit: ulimit -f unlimited before the start (LimitFSIZE=infinity "
            "in the unit, fsize in /etc/security/limits.conf); then delete the part that was "
            "written, and start again.",
            "FAT32 holds no file of 4 GB or more: use ext4, XFS, NTFS or exFAT, or shards of a "
            "smaller size (llama-gguf-split --split-max-size 3G).",
        ),
        "bash: line 1: 11422 File size limit exceeded llama-quantize m.gguf q8.gguf Q8_0",
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cache-not-writable",
        (
            r"Permission denied: '(?P<path>[^']*(?:\.cache|huggingface|hub)[^']*)'",
            r"(?:cache|hugg|\.ollama|models).{0,200}Read-only file ?system",
            r"Read-only file ?system.{0,200}(?:cache|hugg|\.ollama|models)",
            r"failed to create cache directory: (?P<path>.+)",
            r"Failed to determine HF cache directory",
            r"Failed to find \$HOME directory",
            r"(?:could not|cannot|failed to|unable to) (?:create|write to|make|access) (?:the "
            r")?(?:cache|models?|data|home) (?:dir\w*|folder|path)",
            r"mkdir (?P<path>\S*(?:cache|hugg|\.ollama)\S*): permission denied",
            r"(?P<path>\S*(?:\.cache|huggingface|\.ollama)\S*)['\"]?:? .{0,10}permission denied",
            r"error opening local file for writing: (?P<path>.+)",
            r"error writing to file: (?P<path>.+)",
            r"trying to write in your cache folder",
            r"(?:cache|models?) (?:dir\w*|folder) .{0,60}(?:not writable|is not writeable|"
            r"read-only)",
            r"PermissionError at (?P<path>\S+) when downloading",
        ),
        "The cache of the Hub cannot be written: {path}.",
        ("Set HF_HOME to a folder that the user of the container may write.",),
        "PermissionError: [Errno 13] Permission denied: '/.cache/huggingface'",
        Basis.REPORTED,
        phase=_D,
        variants=(
            Variant(
                r"'?/\.cache|\$HOME",
                (
                    "The container's user has no home: -e HOME=/tmp, or -e HF_HOME=/data/hf with "
                    "a mounted folder that this user owns (docker run --user $(id -u):$(id -g)).",
                ),
            ),
            Variant(
                r"\.ollama|ollama",
                (
                    "sudo chown -R ollama:ollama of the folder of models (OLLAMA_MODELS, "
                    "/usr/share/ollama), which its service's user writes; in a container mount "
                    "it as its .ollama folder.",
                ),
            ),
            Variant(
                r"[Rr]ead-only",
                (
                    "The mount is read-only: drop :ro (readOnly: true), or set HF_HOME to a "
                    "folder that is not; a disk that turned read-only by itself wants fsck.",
                ),
            ),
        ),
    ),
    Signature(
        "connection-refused",
        (
            r"^\[Errno (?:61|111)\] Connection refused",
            r"(?:\w*Exception - |APIError: |OpenAIError: |APIConnectionError: )Connection "
            r"error\.{0,2}(?:$|\W)",
            r"connection refused",
            r"actively refused it",
            r"could not connect to ollama",
            r"(?:could not|couldn't|cannot|can't) be reached\b(?!.{0,60}(?:host|name) resol)",
            r"(?:could not|couldn't|failed to|unable to|cannot|can't) (?:connect to|reach) "
            r"(?:(?:your|the|a|any|local|running|remote|openai|llm|ai|api|model|backend|inference|"
            r"llama\S*|ollama|lm ?studio|vllm|localai) ){1,3}(?:instance|server|api|endpoint|"
            r"engine|"
            r"backend|service|provider)",
            r"(?:ollama|server|engine|backend|API) (?:may|might) not be running",
            r"(?:is (?:it|ollama|the server)|make sure (?:\w+ ){1,3}is) (?:up and )?running\b",
            r"\bmessage\\*[\"']: ?\\*[\"']Connection error\.",
            r"APIConnectionError",
            r"ECONNREFUSED",
            r"(?:could not|couldn't|failed to|unable to|cannot|can't) connect to (?:server|the "
            r"server|localhost|127|http|host|remote)",
            r"connect(?:ion)? failed .{0,40}(?:localhost|127\.0\.0\.1)",
            r"WinError 10061",
            r"Failed to connect to (?:localhost|127|(?!github|hugg|pypi|raw\.|cdn|registry|ghcr|"
            r"download|files)\S+ port)",
            r"fetch failed",
            r"connect call failed",
            r"All connection attempts failed",
            r"Failed to establish a new connection: \[(?:Errno|WinError) (?:61|111|10061)",
            r"ERR_CONNECTION_REFUSED",
            r"Cannot connect to host",
            r"Server Connection Error",
            r"\[Errno (?:61|111)\]",
            r"os error (?:61|111|10061)\)",
            r"NewConnectionError",
            r"积极拒绝",
            r"拒绝连接",
            r"Connexion refusée",
            r"Verbindungsaufbau abgelehnt",
            r"Conexión (?:rehusada|rechazada)",
            r"отверг запрос на подключение",
            r"В соединении отказано",
        ),
        "A client cannot reach the server: it is not up yet, or listens elsewhere.",
        (
            "Wait until /health answers 200; in containers use the service's name, not localhost.",
            "Look whether it runs (docker ps, systemctl status), and compare host and port with "
            "those that it says it listens on.",
        ),
        "dial tcp 127.0.0.1:8080: connect: connection refused",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.START,
        variants=(
            Variant(
                r"trycloudflare|ngrok|proxy\.runpod|hf\.space|modal\.(?:run|host)|\.ts\.net",
                (
                    "An https address of a tunnel or platform takes no port: leave :5001 and the "
                    "like away, and end it with /v1.",
                    "Check that the tunnel and the server behind it still run: such addresses "
                    "change with each start.",
                ),
            ),
            Variant(
                r"\b(?:postgres\w*|redis|mysql|mariadb|mongo\w*|qdrant|weaviate|milvus|elasticse"
                r"arch)\b|"
                r":(?:5432|6379|3306|27017|6333|19530|9200)\b",
                (
                    "It is a database that does not answer, not the model: docker compose ps and "
                    "docker compose logs show whether it is up, still starting or ended (password, "
                    "full disk, a volume of another version).",
                    "Start what needs it again once it is up (depends_on with condition: "
                    "service_healthy), and name it by its service's name.",
                ),
                "A database or store beside the program cannot be reached.",
            ),
            Variant(
                r"11434|[Oo]llama",
                (
                    "Start Ollama (ollama serve, or the app; systemctl status ollama), and let "
                    "it listen for others: OLLAMA_HOST=0.0.0.0 in its own environment.",
                    "From a container use http://host.docker.internal:11434 (docker run "
                    "--add-host=host.docker.internal:host-gateway; podman "
                    "host.containers.internal), or the service's name in Compose: localhost is "
                    "the container itself.",
                ),
            ),
            Variant(
                r":1234\b|LM ?Studio",
                (
                    "Start LM Studio's server (Developer tab, or lms server start) and let it "
                    "serve on the local network.",
                    "From a container or WSL use the address of the host, not localhost.",
                ),
            ),
            Variant(
                r"containerd\.sock|crio\.sock",
                (
                    "Start the container runtime on the node: sudo systemctl restart containerd, "
                    "and look into journalctl -u containerd for why it does not run.",
                ),
                "The container runtime of the node does not answer.",
            ),
        ),
    ),
    Signature(
        "upload-damaged",
        (r"digest mismatch, expected \\?\"sha256",),
        "What a client sent to Ollama is not what it announced: the file changed, or the client "
        "sends it wrongly.",
        (
            "Update the client's library, or create the model with ollama create on the machine "
            "of the server.",
            "Do not let the file be written to meanwhile, and send it in binary.",
        ),
        'ResponseError: digest mismatch, expected "sha256:06", got "sha256:9b"',
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "webui-engine-unreachable",
        (
            r"open_webui\.\S+ ?- .{0,40}(?:Connection error|Cannot connect to host)",
            r"^(?:ERROR:? )?\[open_webui\.\S+\] .{0,40}(?:Connection error|Cannot connect to host)",
            r"^Server Error: All connection attempts failed",
            r"Open WebUI: Server Connection Error",
            r"WebUI could not connect to Ollama",
        ),
        "The web interface does not reach the engine behind it.",
        (
            "In a container localhost is the container itself: name the engine "
            "http://host.docker.internal:11434 (docker run "
            "--add-host=host.docker.internal:host-gateway) or by its service's name.",
            "Let the engine listen on all addresses: OLLAMA_HOST=0.0.0.0, or --host 0.0.0.0.",
            "A 502 or 503 comes from a proxy in between: add the engine to NO_PROXY.",
        ),
        "[open_webui.routers.ollama] Connection error: Cannot connect to host localhost:11434 "
        "ssl:default",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "upstream-refused",
        (
            r"error(?: code:?)? 1033\b",
            r"connection refused\".{0,400}\"status\":50[234]",
            r"while connecting to upstream",
            r"no live upstreams",
            r"50[23] .{0,40}dial tcp .{0,60}connection refused",
            r"upstream connect error",
            r"'50[23] (?:Bad Gateway|Service Unavailable)' caused by",
            r"^error code: 50[23]$",
            r"(?:nginx|caddy|traefik|cloudflare|haproxy|envoy).{0,200}\b502 Bad Gateway",
            r"502 Bad Gateway.{0,200}(?:nginx|cloudflare|caddy|openresty)",
            r"Error 502\b",
            r"no healthy (?:upstream|backend|endpoints)",
            r"(?:backend|server) \S+ is DOWN",
            r"^502 Bad Gateway$",
            r"^503 Service (?:Temporarily )?Unavailable$",
            r"^no available server",
            r"proxy error: dial tcp .{0,60}refused",
            r"reverse proxy error",
            r"Unable to reach the origin service",
            r"error calling https?://\S+: 50[234]\b",
            r"dial tcp \S+: connect: connection refused.{0,80}\"status\":50[234]",
            r"connect\(\) (?:to \S+ )?failed \(\d+: Connection refused\)",
            r"AH01114: HTTP: failed to make connection to backend",
            r"error code: 52[0-35-7]\b",
            r"error code 52[0-35-7]\b",
            r"HTTP code 52[0-35-7]\b",
            r"status code 52[0-35-7]\b",
            r"error 52[0-35-7]\b",
            r"HTTP/\S{1,4} 52[0-35-7]\b",
            r"requested URL returned error: (?:502|52[0-35-7])\b",
            r"errorcode_52[0-35-7]\b",
            r"\| 52[0-35-7]: ",
        ),
        "The proxy in front does not reach the server behind it: it is not up, or "
        "listens elsewhere.",
        (
            "Ask the server itself (curl http://127.0.0.1:PORT/health) from where the "
            "proxy runs; in containers use the service's name and port, and --host 0.0.0.0.",
            "On SELinux allow it: setsebool -P httpd_can_network_connect 1.",
        ),
        "[error] 29#29: *1 no live upstreams while connecting to upstream, client: 1.2.3.4",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.START,
        variants=(
            Variant(
                r"52[0-7]|cloudflare|Argo|cloudflared|origin",
                (
                    "Cloudflare reaches no server at the origin's address: start it, let it "
                    "listen on the port that the DNS entry or cloudflared's service: names, and "
                    "open the firewall for Cloudflare; 525 and 526 are a matter of the origin's "
                    "certificate.",
                    "With cloudflared in a container name the server by its service "
                    "(http://llama:8080), not localhost.",
                ),
            ),
            Variant(
                r"\b5020?2?\b.{0,200}(?:traefik|service=)|no available server",
                (
                    "Traefik: give the container's port by label "
                    "(traefik.http.services.NAME.loadbalancer.server.port=8080), put both on one "
                    "network (traefik.docker.network), and mind its health check.",
                ),
            ),
        ),
    ),
    Signature(
        "proxy-config",
        (
            r"nginx: \[emerg\] (?!bind\(\))(?P<why>.+)",
            r"\[emerg\] \d+#\d+: (?P<why>host not found in .+)",
            r"(?P<why>\S+ could not be resolved \(\d+: [\w -]+\))",
            r"(?P<why>no resolver defined to resolve \S+?)(?:,|$)",
            r"nginx: configuration file \S+ test failed",
            r"adapting config using caddyfile: (?P<why>.+)",
            r"Caddyfile:\d+[:\]-].{0,20}(?:unrecognized|Error|unexpected)",
            r"\[ALERT\].{0,60}(?:config|parsing) .{0,40}(?P<why>.{4,})",
            r"Error while building configuration \(for the first time\)",
            r"could not get certificate from issuer",
            r"urn:ietf:params:acme:error:(?P<why>\w+)",
        ),
        "The proxy in front does not start, or has no certificate: {why}.",
        (
            "Correct the line that it names, and check before it is loaded: nginx -t, caddy "
            "validate.",
            "A name of another container is known only once that runs, on the same network: "
            "depends_on, or resolver 127.0.0.11 with the name in a variable.",
            "A certificate of Let's Encrypt needs a name that points here, and port 80 or 443 "
            "open from outside.",
        ),
        "Error while building configuration (for the first time)",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"host not found in|could not be resolved \(|no resolver defined",
                (
                    "Write the server's name as it is known where the proxy runs: in Compose the "
                    "name of the service on the same network, in Kubernetes "
                    "SERVICE.NAMESPACE.svc.cluster.local, on one machine 127.0.0.1.",
                    "nginx looks names up as it starts: let it start after the server "
                    "(depends_on), or name a resolver that answers (resolver 127.0.0.11 in Docker, "
                    "the cluster's DNS in Kubernetes) and put the name in a variable.",
                ),
                "The proxy in front does not find the name of the server behind it: {why}.",
            ),
        ),
    ),
    Signature(
        "upstream-timeout",
        (
            r"upstream timed out",
            r"timeout awaiting response headers",
            r"upstream request timeout",
            r"504 Gateway Time-?out",
            r"524: A timeout occurred",
            r"error code: 524\b",
            r"Error 52[24]\b",
            r"context canceled.{0,60}reverse ?proxy",
            r"(?:gateway|proxy|load balancer) .{0,40}timed? ?out",
            r"Endpoint request timed out",
            r"408 Request Time-?out",
            r"error code 524\b",
            r"HTTP code 524\b",
            r"status code 524\b",
            r"HTTP/\S{1,4} 524\b",
            r"requested URL returned error: 524\b",
            r"errorcode_524\b",
            r"\| 524: ",
        ),
        "A proxy in front gave up before the answer was ready.",
        (
            "Raise its limit (nginx proxy_read_timeout, the load balancer's idle timeout) "
            "and ask with stream: true; Cloudflare's 100 s cannot be raised.",
        ),
        "[error] 29#29: *12 upstream timed out (110: Connection timed out) while "
        "reading response header from upstream, client: 1.2.3.4",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"52[24]|cloudflare",
                (
                    "Ask with stream: true: Cloudflare gives up after 100 s without a byte, "
                    "which cannot be raised below Enterprise; a stream resets it with each token.",
                    "Or go around it: a DNS entry without its proxy (grey cloud), Tailscale, or "
                    "a tunnel of another kind.",
                ),
                "Cloudflare in front gave up after 100 s without an answer.",
            ),
        ),
    ),
    Signature(
        "upstream-died",
        (
            r"upstream prematurely closed connection",
            r"recv\(\) failed \(104: Connection reset by peer\) while reading",
            r"incomplete chunked read",
            r"OllamaException - Server disconnected",
            r"TransferEncodingError.{0,80}(?:Not enough data|400, message)",
            r"stream ended (?:unexpectedly|before)",
        ),
        "The server broke off in the middle of an answer: it crashed, was killed or restarted, "
        "or a proxy in between cut the line.",
        (
            "Its own log at that moment says why: look there for memory, a failed check, or who "
            "ended it (exit code, dmesg).",
            "If it lives on, a proxy or load balancer cuts long answers: raise its limits and "
            "switch buffering off (nginx proxy_buffering off, proxy_read_timeout 3600s).",
        ),
        "httpx.RemoteProtocolError: peer closed connection without sending complete message body "
        "(incomplete chunked read)",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "body-too-large",
        (
            r"client intended to send too large body",
            r"413 (?:Request Entity|Payload|Content) Too Large",
            r"Request Entity Too Large",
            r"APIStatusError: Error code: 413",
            r"Payload Too Large",
            r"request body (?:is )?(?:too large|exceeds|larger than)",
        ),
        "A request is larger than a proxy or server in front allows.",
        ("Raise nginx client_max_body_size (or the proxy's like), mostly for pictures in base64.",),
        "[error] 29#29: *1 client intended to send too large body: 2097153 bytes, client: 1.2.3.4",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "header-too-large",
        (
            r"upstream sent too big header",
            r"Request Header Or Cookie Too Large",
            r"431 Request Header Fields",
        ),
        "Headers are larger than the proxy's buffers.",
        (
            "nginx: proxy_buffer_size 16k and proxy_buffers 8 16k for answers, "
            "large_client_header_buffers 4 32k for requests; or clear the site's cookies.",
        ),
        "[error] 240#240: *1323 upstream sent too big header while reading response header from "
        "upstream, client: 1.2.3.4",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "client-timeout",
        (
            r"(?:httpx|httpcore)\.PoolTimeout",
            r"^(?:[a-z_]\w*\.)*TimeoutError$",
            r"httpx\.ReadTimeout: timed out",
            r"(?:httpx|httpcore)\.ReadTimeout:?$",
            r"\b(?:ServerTimeoutError|SocketTimeoutError)\b",
            r"TimeoutExpired: Command (?!.{0,3}health).{1,400}timed out after",
            r"InterruptedIOException: timeout",
            r"(?:SocketTimeoutException|HttpTimeoutException): .{0,40}(?:timed? ?out|timeout)",
            r"APITimeoutError",
            r"litellm\.Timeout",
            r"Request timed out\.",
            r"(?:client|request) timed? ?out (?:after|of|\()",
            r"TimeoutError: .{0,60}(?:request|response|completion)",
            r"the client (?:disconnected|closed the connection)",
            r"\| 499 \| {1,12}(?:30\.0\d*s|[1-9]\d*m0(?:\.0\d*)?s) \|",
            r"(?:Headers|Body)TimeoutError",
            r"UND_ERR_(?:HEADERS|BODY)_TIMEOUT",
            r"HTTPConnectionPool\(host='(?:localhost|127\.|10\.|172\.|192\.168\.|[a-z][\w-]*')"
            r".{0,60}Read timed out",
            r"AbortError: (?:This|The) operation was aborted",
            r"operation was aborted due to timeout",
        ),
        "The client gave up before the answer was complete.",
        (
            "Raise the client's timeout (OpenAI: timeout=600), ask with stream: true, or "
            "let the server answer faster.",
        ),
        "openai.APITimeoutError: Request timed out.",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"TimeoutExpired",
                (
                    "Raise timeout= of subprocess.run, which began before the model was "
                    "loaded; or start the server once and ask it over HTTP.",
                ),
                "A program did not end in the time that the script which called it allows.",
            ),
        ),
    ),
    Signature(
        "client-provider",
        (
            r"platform\.openai\.com/account/api-keys",
            r"LLM Provider NOT provided",
            r"api_key client option must be set",
            r"(?:OPENAI|ANTHROPIC|LITELLM)_API_KEY .{0,60}(?:not set|missing|required|must be)",
            r"Did not find openai_api_key",
            r"Unmapped LLM provider",
        ),
        "The client library does not know to which server it is to speak, or with what key.",
        (
            "Set base_url to http://HOST:PORT/v1 and any api_key; for LiteLLM name the "
            "model openai/NAME with api_base.",
        ),
        "litellm.BadRequestError: LLM Provider NOT provided. Pass in the LLM provider "
        "you are trying to call.",
        Basis.SOURCE,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "client-address",
        (
            r"Port could not be cast to integer value",
            r"curl: \(1\) (?:Protocol \"[^\"]+\" (?:not supported|disabled)|Unsupported pr"
            r"otocol)",
            r"ValueError: unknown url type: ",
            r"InvalidURL: nonnumeric port",
            r"Request URL is missing an 'http://' or 'https://' protocol",
            r"MissingSchema: Invalid URL",
            r"No connection adapters were found for",
            r"httpx\.InvalidURL: (?P<why>.+)",
            r"(?:Invalid|Unsupported) URL (?:scheme|protocol|port)",
            r"TypeError.{0,30}(?:Invalid URL|Failed to parse URL)",
            r"unsupported protocol scheme",
            r"first path segment in URL cannot contain colon",
            r"curl: \(3\)",
            r"connect\w*.{0,200}Cannot assign requested address",
        ),
        "The address that the client was given is not a whole URL.",
        (
            "Write it with scheme and port: http://127.0.0.1:8080/v1 for clients of OpenAI's "
            "API, http://127.0.0.1:11434 for Ollama's (OPENAI_BASE_URL, OLLAMA_HOST, api_base).",
        ),
        "httpx.UnsupportedProtocol: Request URL is missing an 'http://' or 'https://' protocol.",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"Cannot assign requested address",
                (
                    "In a container localhost is the container itself: give the client the other "
                    "service's name (http://ollama:11434), or host.docker.internal for the host "
                    "(on Linux with extra_hosts host.docker.internal:host-gateway).",
                    "Elsewhere write 127.0.0.1 for localhost, which may be an address of IPv6 "
                    "that this machine does not have.",
                ),
                "The client asks an address at which nothing can be there: localhost within a "
                "container, or IPv6 where there is none.",
            ),
        ),
    ),
    Signature(
        "client-outdated",
        (
            r"no longer supported in openai>=1\.0\.0",
            r"module 'openai' has no attribute",
            r"\bhuggingface-cli: error: .{0,400}invalid choice: '(?P<what>[\w-]+)'",
            r"\bhf: error: .{0,400}invalid choice: '(?P<what>[\w-]+)'",
            r"\b(?:hf|huggingface-cli)\b.{0,60}No such command '(?P<what>[\w-]+)'",
            r"unexpected keyword argument 'proxies'",
            r"module 'ollama' has no attribute",
            r"cannot import name '\w+' from '(?:openai|ollama|litellm|langchain\w*)\b",
        ),
        "The client's package (openai, ollama, httpx, langchain) is of another version than the "
        "code that calls it.",
        (
            "'proxies': pip install -U openai ollama, or 'httpx<0.28' beside an old one.",
            "Code for openai 0.x: write client = OpenAI(base_url=..., api_key=...) and "
            "client.chat.completions.create, or pip install 'openai<1'.",
            "langchain: take ChatOpenAI from langchain_openai, ChatOllama from langchain_ollama.",
        ),
        "You tried to access openai.ChatCompletion, but this is no longer supported in "
        "openai>=1.0.0",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"huggingface-cli|\bhf\b",
                (
                    'pip install -U "huggingface_hub[cli]" with the Python that it runs in '
                    "(newest versions need Python 3.9 or later), then hf download REPO FILE, or "
                    "huggingface-cli download in versions before 1.0.",
                    "which -a hf huggingface-cli shows an older copy that comes first in PATH.",
                    "Without it: curl -L -O https://huggingface.co/OWNER/REPO/resolve/main/FILE.",
                ),
                "The installed huggingface_hub is too old (or too new) for this command: {what}.",
            ),
        ),
    ),
    Signature(
        "answer-not-json",
        (
            r"JSONDecodeError: Expecting value: line \d+ column \d+",
            r"JSON ?decode error",
            r"(?:response|answer|reply|body)\b.{0,40}(?:is not|isn't|not a?) ?valid JSON",
            r"(?:failed|unable|could not|couldn't) to (?:parse|decode) (?:the )?(?:JSON "
            r")?(?:response|"
            r"answer|reply)",
            r"Unexpected token '?<'?,? .{0,40}is not valid JSON",
            r"Unexpected token '?<'? in JSON at position 0\b",
            r"invalid character '<' looking for beginning of value",
            r"Unexpected end of JSON input",
            r"ContentTypeError.{0,200}unexpected mimetype",
        ),
        "What came back is no JSON: mostly a page of a proxy or of a web interface, a wrong "
        "address, or nothing at all.",
        (
            "Ask the same address with curl -i: it must be the server's own API "
            "(http://HOST:PORT/v1), not that of a web interface, and no proxy's login or error "
            "page.",
        ),
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "router-unreachable",
        (
            r"failed to notify router server: (?P<why>.+)",
            r"setup_child_server: .{0,40}(?:failed|error).{0,80}router(?P<why>.*)",
        ),
        "A model's process of llama-server's router does not reach the router itself: {why}.",
        (
            "Let the router listen where its children look for it, on 127.0.0.1: --host 127.0.0.1 "
            "or --host 0.0.0.0 in place of one address of the machine.",
            "Use a newer build, which reports over a pipe; keep firewalls and HTTP_PROXY away from "
            "127.0.0.1 (NO_PROXY).",
        ),
        "srv  setup_child_: failed to notify router server: Could not establish connection",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "proxy-for-localhost",
        (
            r"50[24] (?:Bad Gateway|Gateway Time-?out).{0,80}//(?:localhost|127\.0\.0\.1|"
            r"host\.docker\.internal|\[::1\])",
            r"ollama\._types\.ResponseError:?\s*(?:\(status code: 50[234]\))?$",
        ),
        "A request to this machine itself was answered by a proxy, which does not reach the "
        "server.",
        (
            "Except it from the proxy: NO_PROXY=localhost,127.0.0.1 for the client, or unset "
            "HTTP_PROXY and ALL_PROXY.",
            "If the proxy at that port is yours, ask the server behind it itself (curl "
            "--noproxy '*' http://127.0.0.1:PORT/health).",
        ),
        "httpx.HTTPStatusError: Server error '502 Bad Gateway' for url "
        "'http://localhost:11434/api/generate'",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "endpoint-unknown",
        (
            r"(?<!NotFoundE)(?:message|detail|error)\W{1,6}(?:File|Page|Route|Endpoint|Path) "
            r"Not Found\b(?! in (?:model|dataset|space|repo))",
            r"NotFoundError: (?:Error code: )?404 (?!.*model).{0,120}(?:not found|page)",
            r"['\"]detail['\"]: ?['\"](?:Not Found|Method Not Allowed)",
            r"^(?!.{0,300}OPTIONS ).{0,300}405 Method Not Allowed",
            r"Unexpected endpoint or method(?!\. \(OPTIONS)",
            r"log_server_r\w*: (?:done )?request: +POST \S+ \S+ 404$",
            r"Cannot (?:POST|GET) /",
            r"404 page not found$",
            r"404 404 page not found",
            r"404 Client Error.{0,80}//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\S+\.internal|"
            r"192\.168\.|10\.\d)",
            r"Not found: /(?:api|v1|ollama|openai)\b",
            r"(?:validation|request|call|completions?|chat|embeddings?|invocation|generation) "
            r"failed "
            r"with (?:status|HTTP)\W{0,3}(?:code )?404\b(?!.{0,40}model is not found)",
            r"'404 Not Found' for url 'https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\S+\.internal|"
            r"192\.168\.|10\.\d)",
        ),
        "A request went to an address that this server does not have.",
        (
            "OpenAI clients want the base address with /v1, once: http://HOST:PORT/v1.",
            "A build answers the same for an API that it does not know (/v1/responses, "
            "/v1/messages, /v1/rerank): use a newer one, or /v1/chat/completions.",
        ),
        "openai.NotFoundError: Error code: 404 - {'error': {'code': 404, 'message': "
        "'File Not Found', 'type': 'not_found_error'}}",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"[/ _]responses\b|Received Model Group",
                (
                    "Set the base address to http://HOST:PORT/v1 (api_base in LiteLLM), and use "
                    "a build of llama.cpp of 2026: older ones have no /v1/responses.",
                    "Or let the client use chat completions: /v1/chat/completions.",
                ),
            ),
        ),
    ),
    Signature(
        "cors",
        (
            r"blocked by CORS policy",
            r"No 'Access-Control-Allow-Origin' header",
            r"Cross-Origin Request Blocked",
            r"CORS .{0,60}(?:error|missing|not allowed|failed)",
            r"not allowed by Access-Control-Allow-Origin",
            r"OPTIONS .{0,80} (?:400|403|404|405|501)\b",
            r"Unexpected endpoint or method\. \(OPTIONS ",
            r"\| +40[35] \|.{0,80}\| +OPTIONS +",
            r"\[GIN\].{0,60}\| +403 \|",
            r"Ollama call failed with status code 403",
            r"(?:localhost|127\.0\.0\.1|\[::1\]):11434\b.{0,80}\b403\b",
            r"\b403\b.{0,80}(?:localhost|127\.0\.0\.1|\[::1\]):11434\b",
        ),
        "A browser refuses the answer, because the server does not allow this page to ask (CORS).",
        (
            "Ollama: allow the page or extension in the environment of ollama serve: "
            'OLLAMA_ORIGINS="chrome-extension://*,moz-extension://*,http://localhost:*" (or *), '
            "then quit it wholly and start it again.",
            "LM Studio: Enable CORS in the settings of its server (lms server start --cors).",
            "llama-server allows every page unless a proxy strips the header; else let one proxy "
            "serve page and engine.",
        ),
        "Access to fetch at 'http://localhost:8080/v1/chat/completions' from origin "
        "'http://localhost:3000' has been blocked by CORS policy",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "download-retry",
        (
            r"retrying after (?P<n>\d+) seconds",
            r"download received non-successful status code",
            r"retrying after \d+ milliseconds",
            r"part \d+ stalled; retrying",
        ),
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

# shellcheck shell=bash
# shellcheck disable=SC2034  # some of these variables are for the scripts that source this file
# What the Google Cloud scripts have in common: flags, clear refusals, service accounts, keys and grants.
#
# Sourced, never run. Every change goes through `change`, which only prints it under --dry-run, and every grant is
# looked up first, so that a second run writes nothing.

umask 077 # key files are private from the moment they are created

DRY_RUN=false
ASSUME_YES=false
MARK="sysdig-scc connector" # the description by which teardown knows the service accounts made here
export CLOUDSDK_CORE_DISABLE_PROMPTS=1

library=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Reads --dry-run, --yes and --help; other words are left in REST. The script defines `usage`.
REST=()
flags() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --dry-run) DRY_RUN=true ;;
            --yes | -y) ASSUME_YES=true ;;
            --help | -h)
                usage
                exit 0
                ;;
            -*)
                usage >&2
                die "there is no option $1"
                ;;
            *) REST+=("$1") ;;
        esac
        shift
    done
}

# Refuses to go on unless all the named variables are set; names all that are missing at once.
need() {
    local name missing=()
    for name in "$@"; do
        [ -n "${!name:-}" ] || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    usage >&2
    die "not set: ${missing[*]} (export each before running this script)"
}

need_tools() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$tool is not installed, or not on the PATH"
    done
}

# Runs a command that changes something; under --dry-run only prints it.
change() {
    if $DRY_RUN; then
        printf 'would run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# What a dry run that could not look makes of it.
ASSUMED="the plan assumes that nothing exists yet"

# Runs a gcloud command that only reads. Under --dry-run a failure counts as "nothing there yet", so that a plan can
# be printed before anyone has logged in; `looked` tells that it was one.
read_cloud() {
    if "$@" 2>"$scratch/read.err"; then
        return 0
    fi
    if $DRY_RUN; then
        not_looked "$(head -n 1 "$scratch/read.err")"
        return 0
    fi
    cat "$scratch/read.err" >&2
    die "reading failed: $*"
}

# In a file, because most of the reading is done in subshells.
not_looked() { # CAUSE
    : >"$scratch/not-looked"
    warn "could not look ($1); $ASSUMED"
}

# Whether what was read since the last question could be read.
looked() {
    if [ -e "$scratch/not-looked" ]; then
        rm -f "$scratch/not-looked"
        return 1
    fi
}

# Service accounts ----------------------------------------------------------------------------------------------

check_account_name() { # VARIABLE
    [[ "${!1}" =~ ^[a-z][-a-z0-9]{4,28}[a-z0-9]$ ]] && return
    die "$1 must be the short name of a service account: 6-30 lower-case letters, digits and hyphens (got '${!1}')"
}

account_email() { # NAME PROJECT
    local project=$2
    case "$project" in
        *:*) project="${project#*:}.${project%%:*}" ;; # example.com:thing, the domain-scoped form
    esac
    printf '%s@%s.iam.gserviceaccount.com' "$1" "$project"
}

# Prints the description of the account, or nothing when there is no such account.
account_description() { # EMAIL PROJECT
    read_cloud gcloud iam service-accounts list --project "$2" --filter="email=$1" \
        --format='csv[no-heading,separator="|"](email,description)'
}

ensure_account() { # NAME PROJECT PURPOSE
    local email found
    email=$(account_email "$1" "$2")
    found=$(account_description "$email" "$2")
    if [ -n "$found" ]; then
        say "service account $email: already there"
        return
    fi
    say "service account $email: creating"
    change gcloud iam service-accounts create "$1" --project "$2" --quiet \
        --display-name "sysdig-scc" --description "$MARK: $3"
}

# Deletes an account that these scripts made. One that they did not make is left alone.
remove_account() { # NAME PROJECT
    local email found
    email=$(account_email "$1" "$2")
    found=$(account_description "$email" "$2")
    case "$found" in
        '') if looked; then say "service account $email: not there"; else
            say "service account $email: unknown; would be deleted, with all its keys, if these scripts made it"
        fi ;;
        *"|$MARK"*)
            say "service account $email: deleting, with all its keys"
            change gcloud iam service-accounts delete "$email" --project "$2" --quiet
            ;;
        *)
            warn "service account $email was not made by these scripts and is left alone;" \
                "to delete it: gcloud iam service-accounts delete $email --project $2"
            ;;
    esac
}

# Writes a new key unless the file already holds one of this account.
ensure_key() { # EMAIL PROJECT FILE
    if [ -s "$3" ]; then
        grep -qF "\"$1\"" "$3" ||
            die "$3 exists and is not a key of $1: move it away, or set another location"
        chmod 600 "$3"
        say "key file $3: already there"
        return
    fi
    say "key file $3: creating a key of $1"
    if $DRY_RUN; then
        change gcloud iam service-accounts keys create "$3" --iam-account "$1" --project "$2"
        return
    fi
    if ! with_patience gcloud iam service-accounts keys create "$3" --iam-account "$1" --project "$2" --quiet; then
        [ -s "$3" ] || rm -f "$3"
        die "no key was made; if the organisation forbids keys (iam.disableServiceAccountKeyCreation)," \
            "use scripts/setup_workload_identity, which needs none"
    fi
    chmod 600 "$3"
}

# A service account that was just made is unknown to some of Google's services for some seconds.
with_patience() {
    local attempt
    for attempt in 1 2 3 4 5 6; do
        if "$@" 2>"$scratch/patience.err"; then
            return 0
        fi
        grep -qiE 'does not exist|NOT_FOUND|not found' "$scratch/patience.err" || break
        [ "$attempt" = 6 ] || sleep "${RETRY_PAUSE_SECS:-5}"
    done
    cat "$scratch/patience.err" >&2
    return 1
}

# Grants --------------------------------------------------------------------------------------------------------
# A target is KIND and NAME: organization ID · project ID · account EMAIL · secret NAME · source ID.

# gcloud's words for a target, in the array TARGET.
target() { # KIND NAME
    case "$1" in
        organization) TARGET=(gcloud organizations "$2") ;;
        project) TARGET=(gcloud projects "$2") ;;
        account) TARGET=(gcloud iam service-accounts "$2" "--project=$PROJECT_ID") ;;
        secret) TARGET=(gcloud secrets "$2" "--project=$PROJECT_ID") ;;
        *) die "unknown kind of target: $1" ;;
    esac
}

# Puts the verb between the group and the name: gcloud projects VERB NAME ...
with_verb() { # VERB ARGUMENT...
    local verb=$1 at=2 part
    shift
    case "${TARGET[1]}" in iam) at=3 ;; esac
    COMMAND=("${TARGET[@]:0:at}" "$verb")
    for part in "${TARGET[@]:at}" "$@"; do
        COMMAND+=("$part")
    done
}

has_grant() { # KIND NAME ROLE MEMBER
    local found
    if [ "$1" = source ]; then
        source_policy "$2" >"$scratch/policy.json"
        edit_policy has "$3" "$4"
        return
    fi
    target "$1" "$2"
    with_verb get-iam-policy --flatten='bindings[].members' \
        --filter="bindings.role=$3 AND bindings.members=$4 AND NOT bindings.condition:*" --format='value(bindings.role)'
    found=$(read_cloud "${COMMAND[@]}") || exit 1
    [ -n "$found" ]
}

grant() { # KIND NAME ROLE MEMBER
    if has_grant "$@"; then
        say "$3 on $1 $2: already granted to $4"
        return
    fi
    say "$3 on $1 $2: granting to $4"
    if [ "$1" = source ]; then
        if $DRY_RUN; then say "would grant it by setIamPolicy on the source"; else write_source_policy add "$2" "$3" "$4"; fi
        return
    fi
    target "$1" "$2"
    with_verb add-iam-policy-binding --role "$3" --member "$4" --format=none
    [ "$1" = secret ] || COMMAND+=(--condition=None)
    if $DRY_RUN; then change "${COMMAND[@]}"; else with_patience "${COMMAND[@]}" || die "$3 was not granted on $1 $2"; fi
}

revoke() { # KIND NAME ROLE MEMBER
    if ! has_grant "$@"; then
        if looked; then
            say "$3 on $1 $2: not granted to $4"
        else
            say "$3 on $1 $2: unknown; would be taken from $4 if granted"
        fi
        return
    fi
    say "$3 on $1 $2: taking it from $4"
    if [ "$1" = source ]; then
        if $DRY_RUN; then say "would take away it by setIamPolicy on the source"; else write_source_policy remove "$2" "$3" "$4"; fi
        return
    fi
    target "$1" "$2"
    with_verb remove-iam-policy-binding --role "$3" --member "$4" --format=none
    [ "$1" = secret ] || COMMAND+=(--condition=None)
    change "${COMMAND[@]}"
}

# The policy of one SCC source --------------------------------------------------------------------------------------
# gcloud has no command for it, so the API is called with gcloud's own token, which travels in a pipe and never
# stands in an argument list.

source_url() { # SOURCE
    local base=${SCC_ENDPOINT:-${CLOUDSDK_API_ENDPOINT_OVERRIDES_SECURITYCENTER:-https://securitycenter.googleapis.com}}
    case "$base" in
        *@*) die "there must be no user name in the address" ;;
        https://* | http://127.0.0.1:* | 'http://[::1]:'* | http://localhost:*) ;;
        *) die "the token is not sent to $base: it is neither https nor this machine" ;;
    esac
    printf '%s/v2/organizations/%s/sources/%s' "${base%/}" "$ORG_ID" "$1"
}

call_scc() { # URL BODY_FILE
    local token status
    token=$(gcloud auth print-access-token 2>"$scratch/token.err") || {
        cat "$scratch/token.err" >&2
        say "gcloud has no usable credentials: run gcloud auth login" >&2
        return 1
    }
    status=$(printf 'Authorization: Bearer %s\nX-Goog-User-Project: %s\n' "$token" "$PROJECT_ID" |
        curl --silent --show-error --max-time 60 --header @- --header 'Content-Type: application/json' \
            --data-binary "@$2" --output "$scratch/answer.json" --write-out '%{http_code}' "$1") || return 1
    echo "$status" >"$scratch/status"
    case "$status" in
        2*) cat "$scratch/answer.json" ;;
        *)
            say "Security Command Center answered $status to $1:" >&2
            head -c 2000 "$scratch/answer.json" >&2
            say "" >&2
            return 1
            ;;
    esac
}

source_policy() { # SOURCE
    local url
    url=$(source_url "$1") || exit 1
    printf '{"options":{"requestedPolicyVersion":3}}' >"$scratch/ask.json"
    if call_scc "$url:getIamPolicy" "$scratch/ask.json" 2>"$scratch/scc.err"; then
        return
    fi
    if $DRY_RUN; then
        not_looked "$(head -n 1 "$scratch/scc.err")"
        printf '{}'
        return
    fi
    cat "$scratch/scc.err" >&2
    die "the policy of source $1 could not be read; it takes roles/securitycenter.sourcesAdmin on organisation $ORG_ID"
}

edit_policy() { # has|add|remove ROLE MEMBER   (reads policy.json)
    "$(python)" "$library/policy.py" "$@" <"$scratch/policy.json"
}

# Any Python 3 will do; gcloud always brings one.
python() {
    command -v python3 || gcloud info --format='value(basic.python_location)'
}

# Reads, edits and writes; when somebody else wrote in between (the etag differs) it reads again.
write_source_policy() { # add|remove SOURCE ROLE MEMBER
    local attempt url
    url=$(source_url "$2")
    for attempt in 1 2 3; do
        source_policy "$2" >"$scratch/policy.json"
        edit_policy "$1" "$3" "$4" >"$scratch/request.json"
        if call_scc "$url:setIamPolicy" "$scratch/request.json" >/dev/null 2>"$scratch/scc.err"; then
            return
        fi
        grep -qE '^(409|412)$' "$scratch/status" || break
        say "somebody else changed the policy meanwhile (attempt $attempt); reading it again"
    done
    cat "$scratch/scc.err" >&2
    die "the policy of source $2 could not be written; it takes roles/securitycenter.sourcesAdmin on organisation $ORG_ID"
}

# What the scripts agree on ---------------------------------------------------------------------------------------

FINDINGS_ROLE=roles/securitycenter.findingsEditor
COMPUTE_ROLE=roles/compute.viewer
ACTING_ROLE_ID=sysdigSccActing # a custom role of each project with VMs
SECRET_ROLE=roles/secretmanager.secretAccessor
IDENTITY_ROLE=roles/iam.workloadIdentityUser

# SOURCE_ID may be the number or the full name, with or without a location.
short_source() {
    local source=${SOURCE_ID:-}
    source=${source##*sources/}
    printf '%s' "${source%%/*}"
}

check_organisation() {
    ORG_ID=${ORG_ID#organizations/}
    [[ "$ORG_ID" =~ ^[0-9]+$ ]] || die "ORG_ID must be the organisation's number, see: gcloud organizations list (got '$ORG_ID')"
}

# Lets the member write findings: on the one source when SOURCE_ID is set, else on the whole organisation.
grant_findings() { # MEMBER
    local source
    source=$(short_source)
    if [ -n "$source" ]; then
        grant source "$source" "$FINDINGS_ROLE" "$1"
        return
    fi
    warn "SOURCE_ID is not set, so $FINDINGS_ROLE is granted on the whole organisation $ORG_ID: the account can" \
        "change the findings of every source. Run 'sysdig-scc setup source' first and export SOURCE_ID to narrow it."
    grant organization "$ORG_ID" "$FINDINGS_ROLE" "$1"
}

# The members of a comma-separated list, one a line.
each() {
    local item
    local -a items
    IFS=', ' read -r -a items <<<"$1"
    for item in ${items[@]+"${items[@]}"}; do
        [ -z "$item" ] || printf '%s\n' "$item"
    done
}

# The last line of every script.
finish() {
    if $DRY_RUN; then say "Dry run: nothing was changed."; else say "Done."; fi
}

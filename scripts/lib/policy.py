"""Edits an IAM policy: reads it on standard input and answers about, or writes, one grant.

    policy.py has ROLE MEMBER      status 0 when the member holds the role without a condition, else 1
    policy.py add ROLE MEMBER      prints the setIamPolicy request that grants it
    policy.py remove ROLE MEMBER   prints the setIamPolicy request that takes it away

Grants with a condition, and all others, are kept as they are. The etag is passed on, so that a change by somebody
else in between is refused by the server rather than overwritten.
"""

import json
import sys


def plain(binding, role):
    """Whether the binding gives this role without a condition."""
    return binding.get("role") == role and not binding.get("condition")


def holds(policy, role, member):
    return any(member in b.get("members", []) for b in policy.get("bindings", []) if plain(b, role))


def add(policy, role, member):
    for binding in policy.setdefault("bindings", []):
        if plain(binding, role):
            binding.setdefault("members", []).append(member)
            return
    policy["bindings"].append({"role": role, "members": [member]})


def remove(policy, role, member):
    kept = []
    for binding in policy.get("bindings", []):
        if plain(binding, role):
            binding["members"] = [m for m in binding.get("members", []) if m != member]
            if not binding["members"]:
                continue
        kept.append(binding)
    policy["bindings"] = kept


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("has", "add", "remove"):
        sys.exit(__doc__)
    verb, role, member = sys.argv[1:]
    policy = json.load(sys.stdin)
    held = holds(policy, role, member)
    if verb == "has":
        sys.exit(0 if held else 1)
    if verb == "add" and not held:
        add(policy, role, member)
    if verb == "remove":
        remove(policy, role, member)
    json.dump({"policy": policy}, sys.stdout)


if __name__ == "__main__":
    main()

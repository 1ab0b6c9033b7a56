"""Which paths run somewhere, or decide what runs: what a small change there can do is large.

Owns the list. Must not read files. Matching ignores case, since some file systems do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TABLE: tuple[tuple[str, str], ...] = (
    (
        "CI configuration: it runs with the pipeline's rights",
        r"""\.github/(workflows|actions)/.* | \.gitlab-ci\.yml | \.gitlab/ci/.* | \.circleci/.* | \.buildkite/.*
        | \.ci/.* | jenkinsfile[^/]* | azure-pipelines[^/]*\.ya?ml | \.travis\.yml | \.drone\.ya?ml
        | bitbucket-pipelines\.yml | \.woodpecker([/.].*)? | cloudbuild\.ya?ml | buildspec\.ya?ml""",
    ),
    (
        "git's own configuration or a hook: it runs on other people's machines",
        r"""\.git/(hooks/.*|config(\.worktree)?|info/.*) | \.gitmodules | \.gitattributes | \.githooks/.* | \.husky/.*
        | \.pre-commit-config\.ya?ml | lefthook\.ya?ml""",
    ),
    (
        "rules for AI agents: they steer the next agent",
        r"""(claude|agents|gemini|copilot-instructions)(\.local)?\.md
        | \.(claude|cursor|windsurf|kiro|amazonq|aider[^/]*)/.*
        | \.(cursorrules|windsurfrules|clinerules|aider[^/]*) | \.?mcp\.json | \.github/(prompts|instructions)/.*""",
    ),
    (
        "editor or shell set-up: opening the directory may run it",
        r"""\.vscode/.* | \.devcontainer(\.json|/.*) | \.idea/.* | \.envrc | \.editorconfig | [^/]*\.code-workspace""",
    ),
    (
        "who has to review what",
        r"""codeowners | owners""",
    ),
    (
        "a container or deployment definition",
        r"""(docker|container)file([.-][^/]*)? | [^/]*\.dockerfile | (docker-)?compose[^/]*\.ya?ml
        | [^/]*\.tf(vars|state)? | chart\.yaml | kustomization\.ya?ml | procfile | vagrantfile | [^/]*\.nomad
        | serverless\.ya?ml""",
    ),
    (
        "a build or test definition: it runs when somebody builds or tests",
        r"""(gnu)?makefile | [^/]*\.mk | justfile | taskfile\.ya?ml | setup\.(py|cfg) | pyproject\.toml | tox\.ini
        | noxfile\.py
        | package\.json | \.npmrc | \.yarnrc(\.yml)? | build\.gradle(\.kts)? | pom\.xml | cmakelists\.txt
        | build\.rs | rakefile | gulpfile\.[a-z]+ | webpack\.config\.[a-z]+""",
    ),
    (
        "test machinery: it can make any test pass",
        r"""\.?pytest\.(ini|toml) | conftest\.py | sitecustomize\.py | usercustomize\.py | [^/]*\.pth | [^/]*\.egg-link
        | (_?pytest|pluggy|unittest|doctest|nose2?|coverage|_?pytest_[^/]*|xdist)(\.py|/.*) | \.coveragerc
        | [^/]*\.(dist|egg)-info/.* | \.pytest_cache/.* | (jest|vitest|karma|mocha)[^/]*\.(config|conf|setup)\.[a-z]+
        | \.mocharc[^/]* | phpunit[^/]*\.xml[^/]* | \.rspec | spec_helper\.rb | junit[^/]*\.xml""",
    ),
    (
        "compiled code: its source may say something else",
        r"""__pycache__/.* | [^/]*\.py[co] | [^/]*\.(so|dylib|dll|class|jar|wasm|o|a)""",
    ),
    (
        "dependencies: code from elsewhere",
        r"""package-lock\.json | npm-shrinkwrap\.json | yarn\.lock | pnpm-lock\.yaml | bun\.lockb? | poetry\.lock
        | uv\.lock | pdm\.lock | pipfile(\.lock)? | cargo\.(toml|lock) | go\.(mod|sum) | gemfile(\.lock)?
        | composer\.(json|lock) | [^/]*requirements[^/]*\.(txt|in) | constraints[^/]*\.txt | pip\.conf
        | \.terraform\.lock\.hcl""",
    ),
    (
        "it starts by itself, with the system's rights",
        r"""[^/]*\.(service|timer|socket|path|mount) | (ana)?crontab | cron\.(d|hourly|daily|weekly|monthly)/.*
        | init\.d/.* | rc\.local | udev/.*\.rules | supervisord?[^/]*\.conf""",
    ),
    (
        "who may log in or become whom",
        r"""sudoers(\.d/.*)? | pam\.d/.* | etc/(passwd|shadow|group|gshadow) | \.ssh/.* | authorized_keys2?
        | sshd_config(\.d/.*)? | ld\.so\.(preload|conf) | polkit-1/.*""",
    ),
    (
        "a shell start-up file",
        r"""\.(bash|zsh)(rc|_profile|_login|_logout|env) | \.profile | profile\.d/.* | \.zprofile | \.zlogin
        | etc/profile""",
    ),
    (
        "a database migration: it can't be undone by putting files back",
        r"""migrations?/.* | migrate/.* | alembic/versions/.*""",
    ),
)
_SURFACE = tuple((says, re.compile(f"(?sx:(?:.*/)?(?:{pattern}))".encode())) for says, pattern in _TABLE)
_TESTS = re.compile(
    rb"(?s:(?:.*/)?(?:(?:tests?|specs?|__tests__|testdata)/.*|test_[^/]*|[^/]*_test\.[a-z]+|[^/]*\.(?:test|spec)\.[a-z]+))"
)


_CODE = re.compile(rb"(?s:.*\.(?:pyw?|[cm]?[jt]sx?|go|rs|rb|php|java|kt|scala|cs|c|cc|cpp|h|hpp|pl|lua|sh|ex|exs))")


def is_code(path: bytes) -> bool:
    """By its name, it is a program's source."""
    return _CODE.fullmatch(path.lower()) is not None


def executable_surface(path: bytes) -> Iterator[str]:
    """For each class that `path` belongs to, what is special about it, in words."""
    lowered = path.lower()
    return (says for says, pattern in _SURFACE if pattern.fullmatch(lowered))


def is_test(path: bytes) -> bool:
    """By its name, it is part of a test suite."""
    return _TESTS.fullmatch(path.lower()) is not None

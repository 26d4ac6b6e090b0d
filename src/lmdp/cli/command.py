"""Commands and groups of commands: plain help by panels, and one style of error, which names every fault at once."""

import copy
import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from lmdp.errors import SettingsError
from lmdp.support.printable import did_you_mean, printable
from lmdp.support.program import program

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_LARGEST: Final = 2**31 - 1
_OWN_PANEL: Final = "Options"
_WORDS: Final = {"<int": "N", "<float": "N", "<str": "NAME", "<path": "FILE"}

Contradictions = Callable[[typer.Context], list[str]]
"""Returns the faults of options that are right one by one, and do not go together."""


def option_groups(contradictions: Contradictions | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of its option groups as options.

    An option group is a dataclass; its fields are annotated as typer's parameters, and its `panel` is their heading
    in the help. The function receives each group as one object.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature, parameters = inspect.signature(function), list[inspect.Parameter]()
        groups: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if dataclasses.is_dataclass(parameter.annotation):
                groups[parameter.name] = parameter.annotation
                parameters += _parameters(parameter.annotation)
            else:
                parameters.append(parameter)

        @functools.wraps(function)
        def command(**given: Any) -> None:
            made = {
                name: group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
                for name, group in groups.items()
            }
            function(**given, **made)

        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.contradictions = contradictions  # type: ignore[attr-defined]  # Command reads it
        return command

    return decorate


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_in_panel(hints[field.name], group.panel),
        )
        for field in dataclasses.fields(group)
    ]


def _in_panel(annotation: Any, panel: str) -> Any:
    option = copy.copy(annotation.__metadata__[0])
    option.rich_help_panel = panel
    return Annotated[annotation.__origin__, option]


class _Help:
    """The help of commands and groups."""

    help: str | None

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Return them in one order: the library's is a set's, another in each process."""
        return sorted(super().get_help_option_names(ctx))  # type: ignore[misc]  # the library's class is the next one

    def format_help_text(self, _ctx: Any, formatter: Any) -> None:
        """Write the text; an example is a line of its own."""
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            formatter.write_paragraph()
            with formatter.indentation():
                if paragraph.startswith("Example:"):
                    formatter.write(f"{'':{formatter.current_indent}}{' '.join(paragraph.split())}\n")
                else:
                    formatter.write_text(paragraph)


class Command(_Help, TyperCommand):
    """A command that reports every fault of its command line at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse. Raises SettingsError with every fault."""
        if ctx.resilient_parsing:  # the shell asks for completions
            return super().parse_args(ctx, args)
        faults, given, rest = self._parsed(ctx, args)
        for parameter in sorted(self.get_params(ctx), key=lambda one: not one.is_eager):
            try:
                value, rest = parameter.handle_parse_result(ctx, given, rest)
                if _is_beyond(value):
                    faults.append(_fault(parameter, ctx, value))
            except typer.BadParameter:
                faults.append(_fault(parameter, ctx, given.get(parameter.name)))
                ctx.params[parameter.name] = parameter.get_default(ctx)
        if not faults:  # else it may be the value of an option that is unknown
            faults += [f"{word!r} is one argument too many" for word in rest]
        hint = f"\nHelp: {_command_line(ctx)} --help" if faults else ""
        contradictions = getattr(self.callback, "contradictions", None)
        faults += contradictions(ctx) if contradictions else []
        if faults:
            raise SettingsError(f"{SettingsError.of([printable(fault) for fault in faults])}{hint}")
        ctx.args = rest
        return rest

    def _parsed(self, ctx: Any, args: list[str]) -> tuple[list[str], Mapping[str, Any], list[str]]:
        """Return the faults of single words, the values by option, and the arguments."""
        faults: list[str] = []
        words = list(args)
        while True:
            try:
                given, rest, _ = self.make_parser(ctx).parse_args(list(words))
            except TyperException as error:
                name = getattr(error, "option_name", "")
                faults.append(self._option_fault(ctx, name) if name else error.message)
                at = next((at for at, word in enumerate(words) if word.partition("=")[0] == name), None)
                if at is None:
                    raise SettingsError.of(faults) from error
                del words[at]
            else:
                return faults, given, rest

    def _option_fault(self, ctx: Any, name: str) -> str:
        options = {option: one for one in self.get_params(ctx) for option in (*one.opts, *one.secondary_opts)}
        if name not in options:
            return f"there is no option {name}{did_you_mean(name, [one for one in options if one.startswith('-')])}"
        if getattr(options[name], "is_flag", False):
            return f"{name} takes no value"
        return f"{name} needs a value: {value_of(options[name], ctx)}"

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the headings of their groups."""
        _write_panels(self.get_params(ctx), ctx, formatter)


class Group(_Help, TyperGroup):
    """A group of commands; `help COMMAND` is `COMMAND --help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse up to the command's name. Raises SettingsError for an unknown option."""
        words = [*args[1:], "--help"] if args[:1] == ["help"] else args
        if not words and not ctx.resilient_parsing:
            print(ctx.get_help(), file=sys.stderr)
            raise typer.Exit(2)
        try:
            return super().parse_args(ctx, words)
        except TyperException as error:
            names = [option for one in self.get_params(ctx) for option in one.opts]
            name = getattr(error, "option_name", "")
            raise SettingsError(
                f"there is no option {printable(name)}{did_you_mean(name, names)}\nHelp: {_command_line(ctx)} --help"
            ) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command's name, the command, and the words after it. Raises SettingsError where there is none."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            raise SettingsError(
                f"there is no command {args[0]!r}{did_you_mean(args[0], names)}; commands: {', '.join(names)}"
            )
        return (args[0] if command else None), command, args[1:]

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names of the commands, without loading any."""
        return list(self.commands)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        _write_panels(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)


def group(about: str) -> typer.Typer:
    """Return a group of commands to add to."""
    return typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False, context_settings=SETTINGS, help=about)


class LazyCommands(Mapping[str, Any]):
    """Commands by name, each loaded when it is looked up; `places` has `module:attribute` by name."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return the command. Raises KeyError where there is none of that name."""
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            app = getattr(import_module(module), attribute)
            if not isinstance(app, typer.Typer):
                function, app = app, typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=SETTINGS)
                app.command(name, cls=Command)(function)
            self._loaded[name] = typer.main.get_command(app)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in order, without loading anything."""
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def is_on_command_line(context: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line, rather than in the environment or not at all."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def is_argument(parameter: Any) -> bool:
    """Return whether a parameter is an argument rather than an option."""
    return bool(parameter.param_type_name == "argument")


def names_of(parameter: Any) -> list[str]:
    """Return a parameter's names, the short one first; an argument has its metavar."""
    return [parameter.metavar] if is_argument(parameter) else [*reversed(parameter.opts), *parameter.secondary_opts]


def value_of(option: Any, ctx: Any) -> str:
    """Return what an option takes: its own word, its choices, or its type; nothing for a flag or an argument."""
    if is_argument(option) or option.is_flag:
        return ""
    if option.metavar:
        return str(option.metavar)
    kind = str(option.display_type(ctx))
    return next((word for start, word in _WORDS.items() if kind.startswith(start)), kind)


def default_of(parameter: Any) -> str:
    """Return a parameter's default as text; `required` where it has to be given, nothing where it has none."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return f"default: {parameter.show_default}"
    if parameter.default in (None, False, [], ()):
        return ""
    value = getattr(parameter.default, "value", parameter.default)
    return f"default: {value:g}" if isinstance(value, float) else f"default: {value}"


def _is_beyond(value: Any) -> bool:
    """Return whether a number is none that this program can use: NaN, infinite, or beyond 32 bits."""
    return isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _LARGEST)


def _fault(parameter: Any, ctx: Any, value: Any) -> str:
    """Return what was given for a parameter, and what is allowed."""
    name = max(names_of(parameter), key=len) if is_argument(parameter) else max(parameter.opts, key=len)
    source = ctx.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        name, value = f"{parameter.envvar} ({name})", parameter.resolve_envvar_value(ctx)
    if value is None:
        return f"{name} is missing"
    return f"{name} is {value!r}; it is {_allowed(parameter, ctx)}"


def _allowed(parameter: Any, ctx: Any) -> str:
    kind = parameter.type_descriptor
    if kind.is_choice:
        return f"one of {', '.join(str(getattr(choice, 'value', choice)) for choice in kind.choices)}"
    if kind.annotation is bool:
        return "true or false"
    if kind.annotation in (int, float):
        noun = "a whole number" if kind.annotation is int else "a number"
        most = _LARGEST if parameter.max is None else parameter.max
        if parameter.min is None:
            return f"{noun} of at most {most:,}"
        return f"{noun} from {parameter.min:,} to {most:,}"
    return value_of(parameter, ctx)


def _command_line(ctx: Any) -> str:
    return " ".join([program(), *str(ctx.command_path).split()[1:]])


def _write_panels(parameters: list[Any], ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for one in parameters:
        panel = "Arguments" if is_argument(one) else getattr(one, "rich_help_panel", None) or _OWN_PANEL
        notes = [note for note in (one.envvar or "", default_of(one)) if note]
        what = f"{one.help or ''}{'  [' if notes else ''}{'; '.join(notes)}{']' if notes else ''}"
        panels.setdefault(panel, []).append((" ".join([", ".join(names_of(one)), value_of(one, ctx)]).strip(), what))
    for panel in sorted(panels, key=lambda name: (name == _OWN_PANEL, name != "Arguments")):
        with formatter.section(panel):
            formatter.write_dl(panels[panel])

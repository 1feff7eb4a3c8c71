#!/usr/bin/env python3
"""Random expressions with the values that HTCondor's C++ library gives them.

    TZ=UTC python3 vectors.py [--seed S] [--count N] > FILE

Needs the Python package `htcondor`, whose module `classad2` is the library. The format is said in `tests/it/vectors.rs`.
"""

import argparse
import math
import os
import random
import sys

import htcondor2  # noqa: F401  registers the functions of string lists
import classad2

MY = (
    '[ i = 5; j = -7; zero = 0; r = 2.5; s = "Hello"; v = "10.2.1"; t = true; f = false; u = undefined; e = error; '
    'items = "red, green,blue"; l = { 1, 2.5, "x", i + 1, undefined }; nums = { 3, 1, 2 }; words = { "ab", "b", "cab" }; '
    'n = [ i = 50; deep = [ k = i; up = parent.i ]; here = m; mine = MY.i ]; ads = { [ c = 1; d = i ], [ c = 7 ], n }; '
    'at = absTime("2024-02-29T12:34:56+01:00"); rt = relTime(93784); expr = i * 2 + r; cond = TARGET.m > i; '
    'text = "i + r"; Memory = 2048; Shared = "mine" ]'
)
TARGET = (
    '[ m = 7; w = "world"; Memory = 4096; Cpus = 16; Arch = "X86_64"; Shared = "theirs"; back = TARGET.i; own = MY.m + Cpus; '
    'load = 0.25; gpus = { [ mem = 8; name = "a" ], [ mem = 24; name = "b" ] }; tl = { m, m + 1 }; HasX = true ]'
)

NAMES = "i j zero r s v t f u e items l nums words n ads at rt expr cond text Memory Shared m w Cpus Arch back own load gpus tl HasX nope".split()
MINE = "i j zero r s v t f u e items l nums words n ads at rt expr cond text Memory Shared nope".split()
THEIRS = "m w Memory Cpus Arch Shared back own load gpus tl HasX nope".split()
STRINGS = [
    "", "a", "A", "abc", "ABC", "Hello", "hello", "world", "x y", "a,b,c", "a, b ,c", "1,2,3", "1.5, 2", "3", "-2.5e1x", "true", "FALSE",
    "1.2.3", "1.10", "8.9.12", "user@host", "slot1@h", "é", "tab\\there", 'q\\"q', "back\\\\slash", "1 + 2", "i + 1", "TARGET.m", "{ 1,",
    "red", "aab", "0x1F", " 7", "inf", "a;b;c", "2024-02-29T01:02:03", "1+02:03:04",
]
PATTERNS = ["a", "^a", "b$", "a.c", "[a-c]+", "(a)(b)?", "(x)|(b)", "l+", "o.*", "h(.)l", "[", "(", "a{2}", "\\\\d+", "^$", ".", "x*y", "(?i)HELLO"]
OPTIONS = ["", "i", "m", "s", "x", "f", "g", "fg", "ig", "z"]
DELIMITERS = [",", ";", " ", ", ", "", ".", "-"]
COMPARISONS = ["<", "<=", "==", "!=", ">=", ">", "is", "isnt", "=?="]
FORMATS = ["%Y-%m-%d", "%H:%M:%S", "%a %A %b %B", "%c", "%j %U %W %V %G %g %u %w", "%I %p %P %l %k %e", "%y %C %D %F %R %T %r %x %X", "%%", "%Q", "plain", "%s"]
BINARY = ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "=?=", "=!=", "is", "isnt", "&&", "||", "&", "|", "^", "<<", ">>", ">>>", "&&", "||"]
UNARY = ["-", "!", "~", "+", "- ", "!"]


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def quoted(self, text):
        return '"' + text + '"'

    def string(self):
        return self.quoted(self.r.choice(STRINGS))

    def number(self):
        r = self.r
        return r.choice([
            lambda: str(r.randint(-3, 12)),
            lambda: str(r.randint(-100000, 100000)),
            lambda: str(r.choice([0, 1, -1, 63, 64, 65, 2**31, -(2**31), 2**53, 2**63 - 1, -(2**63)])),
            lambda: r.choice(["0.0", "-0.0", "1.5", "2.5", "-3.5", "0.1", "1e10", "1e300", "-1e308", "1e-5", ".5", "3.0", "1e400"]),
            lambda: repr(round(r.uniform(-1000, 1000), 3)),
        ])()

    def atom(self):
        r = self.r
        return r.choices([
            self.number, self.string, lambda: r.choice(["true", "false", "TRUE", "undefined", "error"]), lambda: r.choice(NAMES),
            lambda: r.choice(["MY.", "my.", "self."]) + r.choice(MINE), lambda: r.choice(["TARGET.", "target."]) + r.choice(THEIRS),
            lambda: r.choice(["n.i", "n.deep.k", "n.deep.up", "n.here", "n.mine", "ads.c", "ads.d", "l[1]", "l[3]", "nums[0]", "n[\"i\"]", "gpus.mem", "TARGET.gpus[1].mem",
                              "ads[0].c", "ads[2].deep", "tl[0]", "n.nope", "l.i", "nums.x", "TARGET.back", "n.deep", "MY.n.i", "absTime(\"2024-02-29T12:34:56Z\")", "relTime(93784)", "relTime(0.25)"]),
        ], [6, 4, 3, 5, 1, 2, 4])[0]()

    def expression(self, depth):
        r = self.r
        if depth <= 0:
            return self.atom()
        kind = r.choices(["atom", "binary", "unary", "ternary", "elvis", "paren", "call", "list", "ad", "subscript", "select"], [3, 9, 2, 1, 1, 3, 9, 1, 1, 1, 1])[0]
        e = lambda: self.expression(depth - r.randint(1, 2))  # noqa: E731
        if kind == "atom":
            return self.atom()
        if kind == "binary":
            return f"{e()} {r.choice(BINARY)} {e()}"
        if kind == "unary":
            return f"{r.choice(UNARY)}{e()}"
        if kind == "ternary":
            return f"{e()} ? {e()} : {e()}"
        if kind == "elvis":
            return f"{e()} ?: {e()}"
        if kind == "paren":
            return f"({e()})"
        if kind == "list":
            return self.list(e)
        if kind == "ad":
            return f"[ q = {e()}; p = {e()} ]" + r.choice(["", ".q", ".p", ".i", ".nope"])
        if kind == "subscript":
            return f"{self.list(e)}[{r.choice(['0', '1', '2', '-1', e()])}]"
        if kind == "select":
            return f"({e()}).{r.choice(['i', 'c', 'k', 'mem', 'q'])}"
        return self.call(e)

    def list(self, e):
        return "{ " + ", ".join(e() for _ in range(self.r.randint(0, 4))) + " }"

    def listy(self, e):
        return self.r.choice([lambda: self.list(e), lambda: self.list(self.number), lambda: self.list(self.string), lambda: self.r.choice(["l", "nums", "words", "ads", "TARGET.tl", "gpus"]), e])()

    def texty(self, e):
        return self.r.choices([self.string, e, lambda: self.r.choice(["s", "v", "items", "w", "text", "Arch"])], [6, 2, 2])[0]()

    def call(self, e):
        r, t = self.r, lambda: self.texty(e)
        pattern = lambda: self.quoted(r.choice(PATTERNS)) if r.random() < 0.9 else e()  # noqa: E731
        option = lambda: self.quoted(r.choice(OPTIONS)) if r.random() < 0.9 else e()  # noqa: E731
        delimiter = lambda: self.quoted(r.choice(DELIMITERS)) if r.random() < 0.9 else e()  # noqa: E731
        comparison = lambda: self.quoted(r.choice(COMPARISONS)) if r.random() < 0.9 else e()  # noqa: E731
        fmt = lambda: self.quoted(r.choice(FORMATS)) if r.random() < 0.9 else e()  # noqa: E731
        li = lambda: self.listy(e)  # noqa: E731
        version = lambda: self.quoted(r.choice(["1.2", "1.10", "1.02", "8.9.12", "8.10", "1.2a", "", "v1", "10", "010"])) if r.random() < 0.7 else e()  # noqa: E731
        name = lambda: r.choice(NAMES)  # noqa: E731
        time = lambda: r.choice(["at", "rt", "at", "rt", "absTime(1700000000, 3600)", "relTime(93784.5)", e(), self.number(), "splitTime(at)"])  # noqa: E731
        table = [
            (["isUndefined", "isError", "isBoolean", "isInteger", "isReal", "isString", "isList", "isClassAd", "isAbsTime", "isRelTime"], [e]),
            (["member", "identicalMember"], [e, li]), (["size"], [e]), (["size"], [li]), (["sum", "avg", "min", "max"], [li]),
            (["anyCompare", "allCompare"], [comparison, li, e]), (["strcat"], [e, e, e]), (["strcat"], [t, e]), (["join"], [delimiter, li]), (["join"], [delimiter, e, e]),
            (["join"], [li]), (["toUpper", "toLower"], [e]), (["substr"], [t, e]), (["substr"], [t, self.number, self.number]), (["strcmp", "stricmp"], [t, t]),
            (["versioncmp", "versionLE", "versionLT", "versionGE", "versionGT", "versionEQ"], [version, version]), (["version_in_range"], [version, version, version]),
            (["regexp"], [pattern, t]), (["regexp"], [pattern, t, option]), (["regexpMember"], [pattern, li]), (["regexpMember"], [pattern, li, option]),
            (["regexps", "replace", "replaceAll"], [pattern, t, lambda: r.choice(['"<\\\\0>"', '"\\\\1"', '"-"', '"\\\\2x"', e()])]),
            (["regexps", "replace", "replaceAll"], [pattern, t, lambda: r.choice(['"<\\\\0>"', '"\\\\1"', '"-"']), option]),
            (["int", "real", "string", "bool"], [e]), (["floor", "ceil", "ceiling", "round"], [e]), (["pow"], [self.number, lambda: str(r.randint(-3, 9))]), (["pow"], [e, e]),
            (["quantize"], [e, e]), (["quantize"], [self.number, li]), (["ifThenElse"], [e, e, e]), (["interval"], [e]), (["eval"], [t]), (["eval"], [e]), (["unparse"], [lambda: r.choice(["i", "r", "s", "expr", "cond", "at", "m", "nope"])]),
            (["split"], [t]), (["split"], [t, delimiter]), (["splitUserName", "splitSlotName"], [t]), (["stringListSize", "stringListSum", "stringListAvg", "stringListMin", "stringListMax"], [t]),
            (["stringListSize", "stringListSum", "stringListAvg", "stringListMin", "stringListMax"], [t, delimiter]), (["stringListMember", "stringListIMember"], [t, t]),
            (["stringListSubsetMatch", "stringListISubsetMatch"], [t, t]), (["stringListMember", "stringListIMember", "stringListSubsetMatch", "stringListISubsetMatch"], [t, t, delimiter]),
            (["stringListsIntersect"], [t, t]), (["stringListsIntersect"], [t, t, delimiter]),
            (["evalInEachContext", "countMatches"], [lambda: r.choice(["(c)", "c > 2", "mem >= 10", "i", "expr", f"({e()})"]), lambda: r.choice(["ads", "gpus", "TARGET.gpus", li()])]),
            (["absTime"], [lambda: str(r.randint(-(10**9), 2 * 10**9)), lambda: str(r.choice([0, 3600, -18000, 19800]))]), (["absTime", "relTime"], [time]),
            (["splitTime"], [time]), (["formatTime"], [time, fmt]), (["formatTime"], [time]),
            (["getYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDayOfWeek", "getDays", "getHours", "getMinutes", "getSeconds"], [time]),
            (["nosuch"], [e]),
        ]
        names, arguments = r.choice(table)
        values = [argument() for argument in arguments]
        if r.random() < 0.02:
            values = values[:-1] if r.random() < 0.5 else values + [e()]
            if not values:
                values = ["1", "2"]
        name = r.choice(names)
        if r.random() < 0.2:
            name = r.choice([name.lower(), name.upper()])
        return f"{name}({', '.join(values)})"

    def requirements(self):
        """What an ad may ask of another: true, false and undefined about equally often."""
        r = self.r
        number = lambda: r.choice(["i", "j", "r", "m", "Cpus", "Memory", "load", "nope", "TARGET.m", "TARGET.i", "TARGET.Memory", "MY.Memory", "n.i", "gpus[0].mem", "own"])  # noqa: E731
        text = lambda: r.choice(["s", "w", "Arch", "TARGET.Arch", "TARGET.s", "Shared", "TARGET.Shared", "nope"])  # noqa: E731
        term = lambda: r.choices([  # noqa: E731
            lambda: f"{number()} {r.choice(['<', '<=', '>', '>=', '==', '!='])} {r.choice([self.number(), number()])}",
            lambda: f"{text()} {r.choice(['==', '!=', '=?=', '=!='])} {r.choice([self.string(), text()])}",
            lambda: r.choice(["t", "f", "HasX", "TARGET.HasX", "!f", "cond", "TARGET.t", "true", "nope is undefined", "regexp(\"^X\", Arch, \"i\")"]),
            lambda: self.expression(2),
            lambda: f"({self.requirements()})",
        ], [5, 3, 4, 1, 1])[0]()
        return r.choice([" && ", " || "]).join(term() for _ in range(r.randint(1, 3)))


class Oracle:
    KINDS = ["isUndefined", "isError", "isBoolean", "isInteger", "isReal", "isString", "isAbsTime", "isRelTime", "isList", "isClassAd"]

    def __init__(self):
        self.my, self.target = classad2.ClassAd(MY), classad2.ClassAd(TARGET)
        self.asked = {}

    def ask(self, text):
        if text not in self.asked:
            if len(self.asked) > 2000:
                self.asked.clear()
            self.asked[text] = classad2.ExprTree(text)
        return self.asked[text].eval(self.my, self.target)

    def value(self, expression):
        """The value as an expression, or `refused`."""
        # A tree of its own is parsed leniently behind `? :`; within an ad nothing may be left over.
        try:
            classad2.ClassAd(f"[ x_ = {expression}\n ]")
            tree = classad2.ExprTree(expression)
        except Exception:
            return "refused"
        self.my["x_"] = tree
        return self.at("x_")

    def at(self, path):
        kind = self.ask(" : ".join(f"{test}({path}) ? {number}" for number, test in enumerate(self.KINDS)) + " : -1")
        if isinstance(kind, classad2.Value):
            return "error"
        if kind < 2:
            return ["undefined", "error"][kind]
        if kind == 9:
            text = self.ask(f"string({path})")
            return text
        if kind == 8:
            return "{ " + ", ".join(self.at(f"{path}[{number}]") for number in range(self.ask(f"size({path})"))) + " }"
        if kind == 6:
            return f"absTime(relTime({self.ask(f'int({path})')}.0), {self.ask(f'splitTime({path}).Offset')})"
        value = self.ask(path)
        if kind == 2:
            return "true" if value else "false"
        if kind == 3:
            return str(value)
        if kind == 4:
            return self.real(value)
        if kind == 7:
            return f"relTime({self.real(value)})"
        return quoted(value)

    def match(self, left, right):
        """Whether the two ads match with these requirements."""
        try:
            self.my["Requirements"], self.target["Requirements"] = classad2.ExprTree(left), classad2.ExprTree(right)
        except Exception:
            return "refused"
        return "true" if self.my.symmetricMatch(self.target) else "false"

    def real(self, value):
        if math.isnan(value):
            return 'real("NaN")'
        if math.isinf(value):
            return 'real("INF")' if value > 0 else 'real("-INF")'
        text = repr(float(value))
        return text


def quoted(text):
    return classad2.quote(text).replace("\n", "\\n").replace("\t", "\\t")


def vector(generator, oracle, bytes_max):
    """The question, and the answer: None for what Python cannot take, such as years after 9999."""
    if generator.r.random() < 0.1:
        left, right = generator.requirements(), generator.requirements()
        return f"match\t{left}\t{right}", oracle.match(left, right)
    expression = generator.expression(generator.r.randint(0, 4))
    while len(expression.encode()) > bytes_max:
        expression = generator.expression(3)
    try:
        value = oracle.value(expression)
    except Exception as error:
        print(f"skipped {expression!r}: {error!r}", file=sys.stderr)
        return expression, None
    if value.startswith("["):
        # Ads are compared as text: the library's does not always parse back.
        return f"string({expression})", quoted(value)
    return expression, value


def answer(seed, start, count, bytes_max, write):
    """Writes a line for each vector: its number, the question and the answer, with tabs between."""
    oracle = Oracle()
    for number in range(start, count):
        write.write(f"{number}\t")
        write.flush()
        # Each has a seed of its own, so that one which the library does not survive is passed over.
        question, value = vector(Generator(f"{seed}/{number}"), oracle, bytes_max)
        write.write("skipped\n" if value is None else f"{question}\t{value}\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=10000)
    arguments.add_argument("--bytes", type=int, default=160, help="the longest expression")
    options = arguments.parse_args()
    print(f"# htcondor {classad2.version()}, seed {options.seed}")
    print("my " + MY)
    print("target " + TARGET, flush=True)
    start = 0
    while start < options.count:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                answer(options.seed, start, options.count, options.bytes, pipe)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            for line in pipe:
                number, *rest = line.rstrip("\n").split("\t")
                start = int(number) + 1
                if len(rest) > 1:
                    print("\t".join(rest))
                elif rest == [""]:
                    print(f"the library does not survive expression {number}", file=sys.stderr)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()

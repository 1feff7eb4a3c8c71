#!/usr/bin/env python3
"""Answers what expressions are worth to HTCondor's C++ library: the other side of `tests/it/oracle/library.rs`.

Prints the library's version. Then it reads batches: a line with the number of questions, the own ad, the other ad, and the questions,
each a line; and prints a line for each: a value, or `refused`, `unreadable` if Python cannot take the value, `unsteady` if it is not
the same twice, `lost` if the library does not survive the question or takes too long over it.
"""

import os
import signal
import struct
import sys

import htcondor2  # noqa: F401  registers the functions of string lists, and switches to the semantics of pools
import classad2

# Seconds that a question may take.
SECONDS_MAX = 20
KINDS = "isUndefined isError isBoolean isInteger isReal isString isAbsTime isRelTime isList isClassAd".split()
UNDEFINED, ERROR, BOOLEAN, INTEGER, REAL, STRING, ABS_TIME, REL_TIME, LIST, AD = range(len(KINDS))
# What these are in Python.
TYPES = {BOOLEAN: bool, INTEGER: int, REAL: float, STRING: str, REL_TIME: float}
# The name of the attribute that is asked for.
ASKED = "x_"


class Unsteady(Exception):
    """A value whose type was another a moment ago."""


class Context:
    """Ads in which questions are asked: the own one, and perhaps another."""

    def __init__(self, *ads):
        self.ads = ads
        self.trees = {}

    def ask(self, text):
        if text not in self.trees:
            if len(self.trees) > 2000:
                self.trees.clear()
            self.trees[text] = classad2.ExprTree(text)
        return self.trees[text].eval(*self.ads)

    def ask_for(self, kind, text):
        """What is known to be of a type of Python's."""
        value = self.ask(text)
        if type(value) is not kind:
            raise Unsteady
        return value

    def value(self, expression):
        # What stands behind an expression is overlooked at times. Nothing that is more than one is whole within all brackets.
        try:
            for around in ("({}\n)", "{{ {}\n }}"):
                classad2.ClassAd(f"[ {ASKED} = {around.format(expression)} ]")
            tree = classad2.ExprTree(expression + "\n")
        except Exception:
            return "refused"
        self.ads[0][ASKED] = tree
        try:
            return self.at(ASKED)
        except UnicodeDecodeError:
            return "unreadable"
        except Unsteady:
            return "unsteady"
        except classad2.ClassAdException:
            # It gave up.
            return "error"
        except (SystemError, MemoryError):
            return "lost"
        finally:
            del self.ads[0][ASKED]

    def at(self, path):
        """The value of a path, as `library.rs` reads it."""
        kind = self.ask(" : ".join(f"{test}({path}) ? {number}" for number, test in enumerate(KINDS)) + " : -1")
        # What exceeds the library's bounds has no kind.
        if isinstance(kind, classad2.Value) or kind == ERROR:
            return "error"
        if kind == UNDEFINED:
            return "undefined"
        if kind == AD:
            return "d" + coded(self.ask_for(str, f"string({path})"))
        if kind == LIST:
            return "{" + "".join(self.at(f"{path}[{number}]") + ";" for number in range(self.ask_for(int, f"size({path})"))) + "}"
        if kind == ABS_TIME:
            return f"a{self.ask_for(int, f'int({path})')},{self.ask_for(int, f'splitTime({path}).Offset')}"
        value = self.ask_for(TYPES.get(kind), path)
        if kind == BOOLEAN:
            return "true" if value else "false"
        if kind == INTEGER:
            return f"i{value}"
        if kind in (REAL, REL_TIME):
            return ("r" if kind == REAL else "t") + struct.pack(">d", value).hex()
        return "s" + coded(value)


def coded(text):
    return text.encode().hex()


class Library:
    def __init__(self, my, target):
        my, target = classad2.ClassAd(my), classad2.ClassAd(target)
        self.contexts = {"both": Context(my, target), "swapped": Context(target, my), "alone": Context(my)}

    def answer(self, question):
        kind, *texts = question.split("\t")
        if kind != "match":
            return self.contexts[kind].value(texts[0])
        left, right = self.contexts["both"].ads
        try:
            left["Requirements"], right["Requirements"] = (classad2.ExprTree(text + "\n") for text in texts)
        except Exception:
            return "refused"
        try:
            found = left.symmetricMatch(right)
        except Exception:
            # It gave up, or the package cannot make a value of Python's of it: it was not true.
            found = False
        del left["Requirements"], right["Requirements"]
        return "true" if found else "false"


def answer(my, target, questions, write):
    library = Library(my, target)
    for question in questions:
        signal.alarm(SECONDS_MAX)
        write.write(library.answer(question) + "\n")
        # What a crash leaves in a buffer is gone with it.
        write.flush()


def batch(my, target, questions):
    """The answers of processes of their own, each from where the one before ended."""
    done = 0
    while done < len(questions):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                answer(my, target, questions[done:], pipe)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            for line in pipe:
                sys.stdout.write(line)
                done += 1
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            sys.exit("an answer failed")
        if done < len(questions):
            sys.stdout.write("lost\n")
            done += 1
    sys.stdout.flush()


def main():
    print(classad2.version(), flush=True)
    source = open(sys.stdin.fileno(), encoding="utf-8", newline="\n")
    while count := source.readline():
        my, target, *questions = (source.readline().rstrip("\n") for _ in range(int(count) + 2))
        batch(my, target, questions)


if __name__ == "__main__":
    main()

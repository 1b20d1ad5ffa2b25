#!/usr/bin/env python3
"""Writes the page as a C file, with the policy that lets only its own style and script run.

usage: embed.py PAGE OUT
"""

import base64
import hashlib
import re
import sys


def hashes(html, element):
    """The policy's words for each <element> of the page; what a browser hashes is the text between the tags."""
    found = re.findall(rb"<%s>(.*?)</%s>" % (element, element), html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in found]


def policy(html):
    rules = [
        "default-src 'none'",
        " ".join(["style-src"] + hashes(html, b"style")),
        " ".join(["script-src"] + hashes(html, b"script")),
        "connect-src 'self' ws: wss:",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return "; ".join(rules)


def literal(data, width=24):
    """The bytes as C string literals. '?' is escaped too: two of them begin a trigraph in C11."""
    for start in range(0, len(data), width):
        yield '    "' + "".join(escaped(byte) for byte in data[start : start + width]) + '"'


def escaped(byte):
    return chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in '"\\?' else f"\\{byte:03o}"


def main():
    page, out = sys.argv[1:]
    with open(page, "rb") as file:
        html = file.read()
    with open(out, "w", encoding="ascii") as file:
        file.write('/* Made by embed.py from the page. */\n#include "page.h"\n\n')
        file.write(f'const char page_policy[] = "{policy(html)}";\n')
        file.write("const char page_html[] =\n" + "\n".join(literal(html)) + ";\n")
        file.write("const size_t page_html_bytes = sizeof page_html - 1;\n")


if __name__ == "__main__":
    main()

//! What is refused, and how it is told.

use super::{env, refused, run};
use crate::Program;

#[test]
fn the_checker_says_where_and_why() {
    for (source, expected) in [
        (
            "i ==",
            "1:5: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | i ==\n | ....^",
        ),
        ("i =", "1:3: Syntax error: token recognition error at: '='\n | i =\n | ..^"),
        ("(i", "1:3: Syntax error: missing ')' at '<EOF>'\n | (i\n | ..^"),
        ("i s", "1:3: Syntax error: extraneous input 's' expecting <EOF>\n | i s\n | ..^"),
        (
            "*i",
            "1:1: Syntax error: extraneous input '*' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | *i\n | ^",
        ),
        ("z == 1", "1:1: undeclared reference to 'z' (in container '')\n | z == 1\n | ^"),
        ("s.f()", "1:4: undeclared reference to 'f' (in container '')\n | s.f()\n | ...^"),
        ("while == 1", "1:1: reserved identifier: while\n | while == 1\n | ^"),
        ("1 == 1.0", "1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0\n | ..^"),
        ("s.size(1)", "1:7: found no matching overload for 'size' applied to 'string.(int)'\n | s.size(1)\n | ......^"),
        ("i.a", "1:2: type 'int' does not support field selection\n | i.a\n | .^"),
        (
            "s.all(v, true)",
            "1:1: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)\n | s.all(v, true)\n | ^",
        ),
        (
            "l.all(v, v)",
            "1:6: found no matching overload for '_&&_' applied to '(bool, int)'\n | l.all(v, v)\n | .....^",
        ),
        ("has(i)", "1:5: invalid argument to has() macro\n | has(i)\n | ....^"),
        ("l.all(1, true)", "1:7: argument must be a simple name\n | l.all(1, true)\n | ......^"),
        ("[1, 'a'] == []", "1:5: expected type 'int' but found 'string'\n | [1, 'a'] == []\n | ....^"),
        (
            "true ? 1 : 'a'",
            "1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'\n | true ? 1 : 'a'\n | .....^",
        ),
        (
            "duration('x') == duration('1s')",
            "1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
        ("s.matches('(')", "1:11: invalid matches argument\n | s.matches('(')\n | ..........^"),
        (
            "'%d'.format(['x'])",
            "1:14: error during formatting: decimal clause can only be used on integers, was given string\n | '%d'.format(['x'])\n | .............^",
        ),
        ("Object{a: 1}", "1:7: undeclared reference to 'Object' (in container '')\n | Object{a: 1}\n | ......^"),
        (
            "jsonpatch.escapeKey('a')",
            "1:1: undeclared reference to 'jsonpatch' (in container '')\n | jsonpatch.escapeKey('a')\n | ^\nERROR: <input>:1:20: undeclared reference to 'escapeKey' (in container '')\n | jsonpatch.escapeKey('a')\n | ...................^",
        ),
        ("s ==\n  z", "2:3: undeclared reference to 'z' (in container '')\n |   z\n | ..^"),
        ("9223372036854775808 > 0", "1:1: invalid int literal\n | 9223372036854775808 > 0\n | ^"),
    ] {
        assert_eq!(refused(source), format!("ERROR: <input>:{expected}"), "{source}");
    }
}

#[test]
fn mutating_expressions_make_objects() {
    let env = env().mutating();
    let program = Program::compile("Object{spec: Object.spec{replicas: i + 1}}", &env).unwrap();
    assert_eq!(program.output().to_string(), "Object");
    let program = Program::compile("[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: i}]", &env);
    assert_eq!(program.unwrap().output().to_string(), "list(JSONPatch)");
    let why = Program::compile("JSONPatch{op: 1}", &env).unwrap_err();
    assert!(why.contains("expected type of field 'op' is 'string' but provided type is 'int'"), "{why}");
}

#[test]
fn what_fails_is_told_in_the_words_of_the_reference() {
    for (source, expected) in [
        ("i / 0 == 1", "division by zero"),
        ("i % 0 == 1", "modulus by zero"),
        ("i * 9223372036854775807 > 0", "integer overflow"),
        ("0u - 1u > 0u", "unsigned integer overflow"),
        ("l[5] == 1", "index out of bounds: 5"),
        ("{'a': 1}['z'] == 1", "no such key: z"),
        ("x.z == 1", "no such key: z"),
        ("int(s) == 1", "type conversion error from 'string' to 'int'"),
        ("s.matches('(' + s)", "error parsing regexp: missing closing ): `(hello world`"),
        (
            "quantity(s).isInteger()",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "ip(s).family() == 4",
            "IP Address \"hello world\" parse error during conversion from string: ParseAddr(\"hello world\"): unable to parse IP",
        ),
        (
            "ip('1.2.3').family() == 4",
            "IP Address \"1.2.3\" parse error during conversion from string: ParseAddr(\"1.2.3\"): IPv4 address too short",
        ),
        (
            "cidr('1.2.3.4').prefixLength() == 4",
            "network address parse error during conversion from string: netip.ParsePrefix(\"1.2.3.4\"): no '/'",
        ),
        (
            "url(s).getHost() == ''",
            "URL parse error during conversion from string: parse \"hello world\": invalid URI for request",
        ),
        ("semver(s).major() == 1", "No Major.Minor.Patch elements found"),
        ("semver('01.2.3').major() == 1", "Major number must not contain leading zeroes \"01\""),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("s.substring(50) == ''", "index out of range: 50"),
        ("s.charAt(-1) == ''", "index out of range: -1"),
        ("s.substring(3, 2) == ''", "invalid substring range. start: 3, end: 2"),
        ("dyn(s) + 1 == 2", "no such overload"),
        ("('%' + s).format([s]) == ''", "could not parse formatting clause: unrecognized formatting clause \"h\""),
        ("quantity('1.5').asInteger() == 1", "cannot convert value to integer"),
        ("[].min() == 1", "min called on empty list"),
        ("{'a': 1, 'a': 2}.size() == 1", "insert failed: key a already exists"),
        ("timestamp(s).getDate() == 1", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    ] {
        let fault = run(source).expect_err(source);
        assert_eq!(fault.message(), expected, "{source}");
    }
}

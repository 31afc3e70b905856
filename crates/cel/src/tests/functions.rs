//! One line for every function and macro: true, and true for the right reason if its opposite is false.

use super::run;
use serde_json::{Value as Json, json};

const TRUE: &[&str] = &[
    // Operators.
    "1 + 2 * 3 - 4 / 2 == 5",
    "7 % 4 == 3 && 7u % 4u == 3u",
    "-i == -7 && -(-i) == 7 && !false",
    "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]",
    "1 < 2.5 && 2u > 1 && 1.0 <= dyn(1) && 'a' < 'b' && b'a' < b'b' && false < true",
    "dyn(1) == 1.0 && dyn(1u) == 1 && dyn('1') != 1 && dyn([1]) != {1: 1}",
    "1.0 / 0.0 > 1e300 && !(0.0 / 0.0 == 0.0 / 0.0) && !(0.0 / 0.0 < 1.0)",
    "true || 1 / 0 == 1",
    "1 / 0 == 1 || true",
    "!(1 / 0 == 1 && false)",
    "i > 5 ? s.size() == 11 : 1 / 0 == 1",
    "1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && 1.0 in dyn([1])",
    "l[0] == 3 && {'a': 1}['a'] == 1 && {1: 'x'}[1] == 'x' && x.c[1] == 2",
    "0x10 == 16 && 1e3 == 1000.0 && .5 == 0.5 && -9223372036854775808 < 0",
    "'\\u00e9\\x41\\101\\n' == 'éAA\\n' && r'\\d' == '\\\\d' && b'\\xff'.size() == 1 && '''a'b''' == \"a'b\"",
    "1 == 1 // with a comment",
    // Macros.
    "has(x.a) && !has(x.z) && !has(x.d.f)",
    "l.all(v, v > 0) && !l.all(v, v > 1) && [].all(v, v)",
    "l.exists(v, v == 2) && !l.exists(v, v == 9)",
    "l.exists_one(v, v > 2) && !l.exists_one(v, v > 1)",
    "l.map(v, v * 2) == [6, 2, 4] && l.map(v, v > 1, v + 1) == [4, 3]",
    "l.filter(v, v > 1) == [3, 2] && {'a': 1, 'b': 2}.filter(k, k == 'b') == ['b']",
    "l.map(a, l.map(b, a * b)) == [[9, 3, 6], [3, 1, 2], [6, 2, 4]]",
    "l.all(i, v, i < 3 && v > 0) && l.exists(i, v, i == 2 && v == 2) && l.existsOne(i, v, v == 1)",
    "{'a': 1}.all(k, v, k == 'a' && v == 1) && {'a': 1}.exists_one(k, v, v == 1)",
    "l.transformList(i, v, v * 10 + i) == [30, 11, 22] && l.transformList(i, v, v > 1, i) == [0, 2]",
    "l.transformMap(i, v, v) == {0: 3, 1: 1, 2: 2} && {'a': 1}.transformMap(k, v, v > 1, v) == {}",
    "l.transformMapEntry(i, v, {v: i}) == {3: 0, 1: 1, 2: 2}",
    "[dyn(1), dyn('x'), dyn(2)].all(v, v != 3) || true",
    "[0, 1].exists(v, 1 / v == 1)",
    // Conversions.
    "int('7') == 7 && int(2.9) == 2 && int(3u) == 3 && int(timestamp('1970-01-01T00:00:05Z')) == 5",
    "uint('7') == 7u && uint(7) == 7u && double('2.5') == 2.5 && double(2) == 2.0",
    "string(1) == '1' && string(1.5) == '1.5' && string(true) == 'true' && string(b'a') == 'a'",
    "string(duration('90s')) == '90s' && string(timestamp('2024-01-02T03:04:05Z')) == '2024-01-02T03:04:05Z'",
    "bytes('é').size() == 2 && bool('true') && type(1) == int && type(type(1)) == type && type([]) == list",
    "type(null) == null_type && type(timestamp(0)) == google.protobuf.Timestamp",
    // Times.
    "timestamp('2024-03-05T10:11:12.5Z').getFullYear() == 2024",
    "timestamp('2024-03-05T10:11:12.5Z').getMonth() == 2 && timestamp('2024-03-05T10:11:12Z').getDate() == 5",
    "timestamp('2024-03-05T10:11:12.5Z').getDayOfMonth() == 4 && timestamp('2024-01-01T00:00:00Z').getDayOfYear() == 0",
    "timestamp('2024-03-05T10:11:12.5Z').getDayOfWeek() == 2 && timestamp('2024-03-05T10:11:12.5Z').getMilliseconds() == 500",
    "timestamp('2024-03-05T10:11:12Z').getHours('+01:30') == 11 && timestamp('2024-03-05T10:11:12Z').getMinutes() == 11",
    "timestamp('2024-07-05T10:11:12Z').getHours('Europe/Berlin') == 12 && timestamp('2024-03-05T10:11:12Z').getSeconds() == 12",
    "duration('1h30m').getMinutes() == 90 && duration('90s').getHours() == 0 && duration('1.5s').getMilliseconds() == 1500",
    "timestamp('2024-01-01T00:00:00Z') + duration('1h') == timestamp('2024-01-01T01:00:00Z')",
    "timestamp('2024-01-01T01:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('1h')",
    "duration('1h') - duration('30m') < duration('31m')",
    // Texts.
    "s.startsWith('hello') && s.endsWith('world') && s.contains('lo w') && s.matches('o w') && matches(s, '^h')",
    "s.charAt(1) == 'e' && s.charAt(11) == '' && 'é'.size() == 1",
    "s.indexOf('o') == 4 && s.indexOf('o', 5) == 7 && s.indexOf('') == 0 && s.indexOf('zz') == -1",
    "s.lastIndexOf('o') == 7 && s.lastIndexOf('o', 6) == 4 && s.lastIndexOf('zz') == -1",
    "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('-') == ''",
    "'ÉA'.lowerAscii() == 'Éa' && 'éa'.upperAscii() == 'éA' && ' x '.trim() == 'x'",
    "s.replace('l', 'L') == 'heLLo worLd' && s.replace('l', 'L', 1) == 'heLlo world' && 'ab'.replace('', '-') == '-a-b-'",
    "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']",
    "'a,b'.split(',', 0) == [] && 'a,b'.split(',', 1) == ['a,b'] && 'a,b'.split(',', -1) == ['a', 'b']",
    "s.substring(6) == 'world' && s.substring(0, 5) == 'hello' && 'tacocat'.substring(7) == ''",
    "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
    "'1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
    "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
    "'%s %d %.2f %x %X %o %b %%'.format(['a', 3, 2.456, 255, 255, 8, 5]) == 'a 3 2.46 ff FF 10 101 %'",
    "'%e'.format([1234.5]) == '1.234500e+03' && '%b'.format([true]) == '1' && '%x'.format(['hi']) == '6869'",
    "'%s'.format([[1, 'a', true, [2.5], null]]) == '[1, \"a\", true, [2.500000], null]'",
    "'%s'.format([{'b': 1, 'a': 'x'}]) == '{\"a\":\"x\", \"b\":1}' && '%s'.format([type(1)]) == 'int'",
    // Lists and sets.
    "[1, 2].isSorted() && !l.isSorted() && l.sum() == 6 && l.min() == 1 && l.max() == 3 && [1.5, 2.5].sum() == 4.0",
    "[].sum() == 0 && [duration('1s'), duration('2s')].sum() == duration('3s') && ['b', 'a'].min() == 'a'",
    "l.indexOf(1) == 1 && l.indexOf(9) == -1 && [1, 2, 1].lastIndexOf(1) == 2",
    "l.slice(1, 3) == [1, 2] && [[1], [2, 3]].flatten() == [1, 2, 3]",
    "[[[1]], [[2]]].flatten(2) == [1, 2] && lists.range(3) == [0, 1, 2] && l.sort() == [1, 2, 3]",
    "l.reverse() == [2, 1, 3] && [1, 2, 1].distinct() == [1, 2] && l.first().value() == 3 && l.last().value() == 2",
    "!([1].slice(0, 0).first().hasValue()) && ['bb', 'a'].sortBy(v, v.size()) == ['a', 'bb']",
    "sets.contains([1, 2], [1]) && !sets.contains([1], [2]) && sets.equivalent([1, 1, 2], [2, 1])",
    "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2]) && sets.contains([1], [])",
    // Optional values.
    "optional.of(1).hasValue() && !optional.none().hasValue() && optional.of(1).value() == 1",
    "optional.none().orValue(2) == 2 && optional.none().or(optional.of(3)).value() == 3",
    "!optional.ofNonZeroValue(0).hasValue() && optional.ofNonZeroValue('a').hasValue()",
    "x.?a.orValue(0) == 1 && x.?z.orValue(0) == 0 && x.?d.?e.hasValue() && x.?z.?y.orValue(5) == 5",
    "x.c[?5].orValue(9) == 9 && x.c[?0].orValue(9) == 1 && {'a': 1}[?'b'].orValue(2) == 2",
    "[?x.?z, ?x.?a].size() == 1 && {?'k': x.?z}.size() == 0",
    "x.?a.optMap(v, v + 1).orValue(0) == 2 && x.?z.optMap(v, v + 1).orValue(7) == 7",
    "x.?a.optFlatMap(v, optional.of(v + 2)).value() == 3",
    // Kubernetes' own types.
    "url('https://u@e.com:80/a?x=1&x=2').getHost() == 'e.com:80' && isURL('/p') && !isURL('p q')",
    "url('https://e.com:80/a b').getEscapedPath() == '/a%20b' && url('https://[::1]:80/').getHostname() == '::1'",
    "url('https://e.com:80/').getPort() == '80' && url('HTTPS://e.com/').getScheme() == 'https'",
    "url('/p?x=1&x=2').getQuery()['x'] == ['1', '2']",
    "ip('1.2.3.4').family() == 4 && isIP('::1') && !isIP('1.2.3') && !isIP('::ffff:1.2.3.4') && ip('127.0.0.1').isLoopback()",
    "ip('fe80::1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast() && ip('8.8.8.8').isGlobalUnicast()",
    "ip('::').isUnspecified() && ip.isCanonical('::1') && !ip.isCanonical('::0001') && string(ip('::0001')) == '::1'",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1')) && isCIDR('::/0')",
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.0.0/8').masked() == cidr('10.0.0.0/8')",
    "cidr('10.1.0.0/8').prefixLength() == 8 && cidr('10.1.0.0/8').ip() == ip('10.1.0.0') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
    "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('1k').asInteger() == 1000 && isQuantity('1Ki')",
    "quantity('50k').add(20) == quantity('50020') && quantity('2').sub(quantity('500m')) == quantity('1.5')",
    "sign(quantity('-1')) == -1 && !quantity('1500m').isInteger() && quantity('1').compareTo(quantity('2')) == -1",
    "quantity('1500m').asApproximateFloat() == 1.5 && !isQuantity('200K') && quantity('1').isLessThan(quantity('2'))",
    "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.2', true) && !isSemver('v1.2')",
    "semver('1.0.0-rc.1').isLessThan(semver('1.0.0')) && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
    "semver('01.2', true).major() == 1 && semver('1.2.3+a').compareTo(semver('1.2.3+b')) == 0",
    "!format.dns1123Label().validate('abc').hasValue() && format.named('uuid').hasValue() && !format.named('x').hasValue()",
    "format.dns1123Subdomain().validate('a_b').value()[0].startsWith('a lowercase RFC 1123 subdomain')",
    "format.labelValue().validate('-').hasValue() && !format.qualifiedName().validate('a.b/C').hasValue()",
    "!format.date().validate('2024-02-29').hasValue() && format.date().validate('2023-02-29').hasValue()",
];

#[test]
fn every_function_and_macro_does_what_it_is_for() {
    for source in TRUE {
        assert_eq!(run(source), Ok(json!(true)), "{source}");
    }
}

#[test]
fn the_opposites_are_false() {
    for source in TRUE.iter().filter(|source| !source.contains("//") && !source.contains("|| true")) {
        assert_eq!(run(&format!("!({source})")), Ok(json!(false)), "{source}");
    }
}

#[test]
fn values_are_json_again() {
    let cases: [(&str, Json); 5] = [
        ("{'a': [dyn(1), dyn(2.5), dyn('x'), dyn(true), dyn(null)]}", json!({"a": [1, 2.5, "x", true, null]})),
        ("x", json!({"a": 1, "b": "two", "c": [1, 2], "d": {"e": null}, "n": 2.5})),
        ("b'hi'", json!("aGk=")),
        ("duration('90s')", json!("90s")),
        ("optional.of(1)", json!(1)),
    ];
    for (source, expected) in cases {
        assert_eq!(run(source), Ok(expected), "{source}");
    }
}

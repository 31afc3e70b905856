//! From tokens to a tree. What is wrong is said in the words of the reference implementation's generated parser.

use crate::ast::{Const, DEPTH_MAX, Entry, Expr, Field, Kind, List, Object, Select};
use crate::issue::Issue;
use crate::lex::{Lexeme, Token, lex};
use crate::macros;
use std::sync::Arc;

/// How many characters an expression may have.
const CHARACTERS_MAX: usize = 100_000;
/// How deep brackets may nest: each level takes several frames of the parser.
const NESTING_MAX: u16 = 100;

const STARTS: &str = "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                      BYTES, IDENTIFIER";
/// Words that CEL keeps for itself, beside its literals and `in`.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Binary operators by how loosely they bind, without `&&`, `||` and `?:`.
const BINARY: [(&str, &str, u8); 12] = [
    ("<", "_<_", 0),
    ("<=", "_<=_", 0),
    (">=", "_>=_", 0),
    (">", "_>_", 0),
    ("==", "_==_", 0),
    ("!=", "_!=_", 0),
    ("in", "@in", 0),
    ("+", "_+_", 1),
    ("-", "_-_", 1),
    ("*", "_*_", 2),
    ("/", "_/_", 2),
    ("%", "_%_", 2),
];

/// The tree of a source, or all that is wrong with it.
pub(crate) fn parse(source: &[char]) -> Result<Expr, Vec<Issue>> {
    if source.len() > CHARACTERS_MAX {
        let why = format!("expression code point size exceeds limit: size: {}, limit {CHARACTERS_MAX}", source.len());
        return Err(vec![Issue::new(0, why)]);
    }
    let mut issues = Vec::new();
    let tokens = lex(source, &mut issues);
    let mut parser = Parser { tokens, next: 0, depth: 0, issues };
    let parsed = parser.expr().and_then(|expr| {
        parser.expect_end()?;
        Ok(expr)
    });
    match parsed {
        Ok(expr) if parser.issues.is_empty() && expr.depth <= DEPTH_MAX => Ok(expr),
        Ok(expr) => {
            if expr.depth > DEPTH_MAX {
                parser.issues.push(too_deep(expr.at, DEPTH_MAX));
            }
            Err(parser.issues)
        }
        Err(issue) => {
            parser.issues.push(issue);
            Err(parser.issues)
        }
    }
}

fn too_deep(at: u32, limit: u16) -> Issue {
    Issue::new(at, format!("expression recursion limit exceeded: {limit}"))
}

struct Parser {
    tokens: Vec<Lexeme>,
    next: usize,
    depth: u16,
    issues: Vec<Issue>,
}

type Parsed<T> = Result<T, Issue>;

impl Parser {
    fn peek(&self) -> &Token {
        self.ahead(0)
    }

    fn ahead(&self, n: usize) -> &Token {
        &self.tokens[(self.next + n).min(self.tokens.len() - 1)].token
    }

    fn at(&self) -> u32 {
        self.tokens[self.next].at
    }

    fn advance(&mut self) -> Lexeme {
        let lexeme = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        lexeme
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    /// Consumes a sign and says where it was.
    fn take(&mut self, sign: &str) -> Option<u32> {
        self.is(sign).then(|| self.advance().at)
    }

    fn syntax(&self, what: &str, expecting: &str) -> Issue {
        let text = &self.tokens[self.next].text;
        Issue::new(self.at(), format!("Syntax error: {what} input '{text}' expecting {expecting}"))
    }

    fn expect(&mut self, sign: &str) -> Parsed<u32> {
        if let Some(at) = self.take(sign) {
            return Ok(at);
        }
        if *self.peek() == Token::End {
            return Err(Issue::new(self.at(), format!("Syntax error: missing '{sign}' at '<EOF>'")));
        }
        let deleted = matches!(self.ahead(1), Token::Sign(s) if *s == sign);
        Err(self.syntax(if deleted { "extraneous" } else { "mismatched" }, &format!("'{sign}'")))
    }

    fn expect_end(&mut self) -> Parsed<()> {
        match self.peek() {
            Token::End => Ok(()),
            _ if *self.ahead(1) == Token::End => Err(self.syntax("extraneous", "<EOF>")),
            _ => Err(self.syntax("mismatched", "<EOF>")),
        }
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(too_deep(self.at(), NESTING_MAX));
        }
        let condition = self.logic(true)?;
        let expr = match self.take("?") {
            None => condition,
            Some(at) => {
                let yes = self.logic(true)?;
                self.expect(":")?;
                let no = self.expr()?;
                Expr::call(at, "_?_:_", None, vec![condition, yes, no])
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// `||` of `&&`s, balanced: long chains are no deeper than they need be.
    fn logic(&mut self, or: bool) -> Parsed<Expr> {
        let (sign, function) = if or { ("||", "_||_") } else { ("&&", "_&&_") };
        let (mut terms, mut places) = (Vec::new(), Vec::new());
        loop {
            terms.push(Some(if or { self.logic(false)? } else { self.binary(0)? }));
            match self.take(sign) {
                Some(at) => places.push(at),
                None => break,
            }
        }
        if places.is_empty() {
            return Ok(terms.pop().flatten().expect("a term was pushed"));
        }
        Ok(balanced(function, &mut terms, &places, 0, places.len() - 1))
    }

    fn binary(&mut self, level: u8) -> Parsed<Expr> {
        let mut left = self.unary()?;
        loop {
            let Token::Sign(sign) = *self.peek() else { return Ok(left) };
            let Some((_, function, binds)) = BINARY.into_iter().find(|(s, _, _)| *s == sign) else { return Ok(left) };
            if binds < level {
                return Ok(left);
            }
            let at = self.advance().at;
            let right = self.binary(binds + 1)?;
            left = Expr::call(at, function, None, vec![left, right]);
            if left.depth > DEPTH_MAX {
                return Err(too_deep(at, DEPTH_MAX));
            }
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let (sign, function) = match self.peek() {
            Token::Sign("-") => ("-", "-_"),
            Token::Sign("!") => ("!", "!_"),
            _ => return self.member(),
        };
        let at = self.at();
        let mut count = 0;
        while self.is(sign) {
            self.advance();
            count += 1;
        }
        if sign == "-" && count % 2 == 1 {
            // The minus belongs to a number that follows.
            let negated = match self.peek() {
                Token::Const(Const::Int(value)) => Some(Const::Int(-value)),
                Token::Const(Const::Double(value)) => Some(Const::Double(-value)),
                Token::Bad("9223372036854775808") => Some(Const::Int(i64::MIN)),
                _ => None,
            };
            if let Some(value) = negated {
                self.advance();
                return self.members(Expr::constant(at, value));
            }
        }
        let operand = self.member()?;
        Ok(if count % 2 == 0 { operand } else { Expr::call(at, function, None, vec![operand]) })
    }

    fn member(&mut self) -> Parsed<Expr> {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            if expr.depth > DEPTH_MAX {
                return Err(too_deep(expr.at, DEPTH_MAX));
            }
            if let Some(at) = self.take(".") {
                let optional = self.take("?").is_some();
                let name = match self.peek().clone() {
                    Token::Ident(name) | Token::Quoted(name) => name,
                    other => {
                        let text = if other == Token::End { "" } else { &*self.tokens[self.next].text };
                        let why = format!("Syntax error: no viable alternative at input '.{text}'");
                        return Err(Issue::new(self.at(), why));
                    }
                };
                let quoted = matches!(self.peek(), Token::Quoted(_));
                self.advance();
                if !optional && !quoted && self.is("(") {
                    let open = self.advance().at;
                    let args = self.args()?;
                    expr = macros::expand(open, Some(expr), &name, args, &mut self.issues);
                } else if optional {
                    let field = Expr::constant(at, Const::String(name));
                    expr = Expr::call(at, "_?._", None, vec![expr, field]);
                } else {
                    expr = Expr::new(at, Kind::Select(Box::new(Select { operand: expr, field: name, test: false })));
                }
            } else if let Some(at) = self.take("[") {
                let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expr()?;
                self.expect("]")?;
                expr = Expr::call(at, function, None, vec![expr, index]);
            } else {
                return Ok(expr);
            }
        }
    }

    /// What stands between the parentheses of a call; the first is consumed already.
    fn args(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let at = self.at();
        match self.peek().clone() {
            Token::Const(value) => {
                self.advance();
                Ok(Expr::constant(at, value))
            }
            Token::Bad(why) => {
                let why = if why.starts_with('9') { "invalid int literal" } else { why };
                self.issues.push(Issue::new(at, why));
                self.advance();
                Ok(Expr::constant(at, Const::Null))
            }
            Token::Sign("true") => self.word(Const::Bool(true)),
            Token::Sign("false") => self.word(Const::Bool(false)),
            Token::Sign("null") => self.word(Const::Null),
            Token::Sign("(") => {
                self.advance();
                let expr = self.expr()?;
                self.expect(")")?;
                Ok(expr)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Ident(_) => self.name(),
            Token::Sign(".") if matches!(self.ahead(1), Token::Ident(_)) => {
                self.advance();
                self.name()
            }
            _ => {
                let deleted = !matches!(self.ahead(1), Token::End | Token::Sign(_)) && *self.peek() != Token::End;
                Err(self.syntax(if deleted { "extraneous" } else { "mismatched" }, &format!("{{{STARTS}}}")))
            }
        }
    }

    fn word(&mut self, value: Const) -> Parsed<Expr> {
        Ok(Expr::constant(self.advance().at, value))
    }

    fn list(&mut self) -> Parsed<Expr> {
        let at = self.advance().at;
        let (mut items, mut optional) = (Vec::new(), Vec::new());
        loop {
            if self.take("]").is_some() {
                break;
            }
            if self.take("?").is_some() {
                optional.push(items.len());
            }
            items.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect("]")?;
                break;
            }
        }
        Ok(Expr::new(at, Kind::List(List { items, optional })))
    }

    fn map(&mut self) -> Parsed<Expr> {
        let at = self.advance().at;
        let mut entries = Vec::new();
        loop {
            if self.take("}").is_some() {
                break;
            }
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr::new(at, Kind::Map(entries)))
    }

    /// An identifier, a call of a function, or the making of an object.
    fn name(&mut self) -> Parsed<Expr> {
        let Lexeme { at, text: name, .. } = self.advance();
        let mut dots = 0;
        while matches!(self.ahead(dots), Token::Sign(".")) && matches!(self.ahead(dots + 1), Token::Ident(_)) {
            dots += 2;
        }
        if matches!(self.ahead(dots), Token::Sign("{")) {
            let mut path = name.to_string();
            for _ in 0..dots {
                path.push_str(&self.advance().text);
            }
            return self.object(path.into());
        }
        if RESERVED.contains(&&*name) {
            self.issues.push(Issue::new(at, format!("reserved identifier: {name}")));
        }
        if let Some(open) = self.take("(") {
            let args = self.args()?;
            return Ok(macros::expand(open, None, &name, args, &mut self.issues));
        }
        Ok(Expr::ident(at, &name))
    }

    fn object(&mut self, name: Arc<str>) -> Parsed<Expr> {
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        loop {
            if self.take("}").is_some() {
                break;
            }
            let optional = self.take("?").is_some();
            let field = match self.peek().clone() {
                Token::Ident(name) | Token::Quoted(name) => name,
                _ => return Err(self.syntax("mismatched", "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}")),
            };
            self.advance();
            let at = self.expect(":")?;
            let value = self.expr()?;
            fields.push(Field { at, name: field, value, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr::new(at, Kind::Object(Object { name, fields })))
    }
}

fn balanced(function: &str, terms: &mut [Option<Expr>], places: &[u32], low: usize, high: usize) -> Expr {
    let middle = (low + high).div_ceil(2);
    let mut taken = |i: usize| terms[i].take().expect("every term is used once");
    let left = if middle == low { taken(middle) } else { balanced(function, terms, places, low, middle - 1) };
    let mut taken = |i: usize| terms[i].take().expect("every term is used once");
    let right = if middle == high { taken(middle + 1) } else { balanced(function, terms, places, middle + 1, high) };
    Expr::call(places[middle], function, None, vec![left, right])
}

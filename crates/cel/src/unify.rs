//! Which types fit which: assignment with type variables that are found on the way, and taken back when a way fails.

use crate::types::Type;
use std::sync::Arc;

/// How many parts a type may have before it is taken for `dyn`: literals may nest, and types with them.
const PARTS_MAX: u32 = 500;

/// What the variables of a check stand for.
#[derive(Default)]
pub(crate) struct Variables {
    found: Vec<Option<Type>>,
    /// What was there before each change.
    trail: Vec<(u32, Option<Type>)>,
}

impl Variables {
    pub fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Var(u32::try_from(self.found.len() - 1).unwrap_or(u32::MAX))
    }

    /// The parameters of a declaration as fresh variables.
    pub fn instantiate(&mut self, params: &[Type], result: &Type, count: u8) -> (Vec<Type>, Type) {
        let fresh: Vec<Type> = (0..count).map(|_| self.fresh()).collect();
        (params.iter().map(|param| with(param, &fresh)).collect(), with(result, &fresh))
    }

    /// Whether each of the given types may stand where the other is wanted; nothing is found if one may not.
    pub fn assign_all(&mut self, wanted: &[Type], given: &[Type]) -> bool {
        let mark = self.trail.len();
        let fits =
            wanted.len() == given.len() && wanted.iter().zip(given).all(|(wanted, given)| self.fits(wanted, given));
        if !fits {
            while self.trail.len() > mark {
                if let Some((variable, before)) = self.trail.pop() {
                    self.found[variable as usize] = before;
                }
            }
        }
        fits
    }

    pub fn assign(&mut self, wanted: &Type, given: &Type) -> bool {
        self.assign_all(std::slice::from_ref(wanted), std::slice::from_ref(given))
    }

    fn find(&self, variable: u32) -> Option<&Type> {
        self.found.get(variable as usize)?.as_ref()
    }

    fn set(&mut self, variable: u32, ty: Type) {
        let before = self.found[variable as usize].replace(ty);
        self.trail.push((variable, before));
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Var(variable) = b {
            let (valid, had) = self.substitute_var(a, *variable);
            if valid || had {
                return valid;
            }
        }
        if let Type::Var(variable) = a {
            return self.substitute_var(b, *variable).0;
        }
        match (a, b) {
            _ if a.is_dyn_or_error() || b.is_dyn_or_error() => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null | Type::Object(_) | Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Optional(_)
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.fits(a, b) && self.fits(x, y),
            _ => a == b,
        }
    }

    /// Whether a variable may stand for a type, and whether it stood for one already.
    fn substitute_var(&mut self, ty: &Type, variable: u32) -> (bool, bool) {
        if *ty == Type::Var(variable) {
            return (true, true);
        }
        if let Some(held) = self.find(variable).cloned() {
            if !self.fits(ty, &held) {
                return (false, true);
            }
            let general = if is_less_specific(ty, &held) { ty.clone() } else { held };
            if !self.mentions(&general, variable, 0) {
                self.set(variable, general);
            }
            return (true, true);
        }
        if self.mentions(ty, variable, 0) {
            return (false, false);
        }
        self.set(variable, ty.clone());
        (true, false)
    }

    fn mentions(&self, ty: &Type, variable: u32, depth: u8) -> bool {
        if depth == u8::MAX {
            return true;
        }
        match ty {
            Type::Var(other) if *other == variable => true,
            Type::Var(other) => self.find(*other).is_some_and(|held| self.mentions(held, variable, depth + 1)),
            Type::List(of) | Type::Optional(of) | Type::Type(of) => self.mentions(of, variable, depth + 1),
            Type::Map(key, value) => {
                self.mentions(key, variable, depth + 1) || self.mentions(value, variable, depth + 1)
            }
            _ => false,
        }
    }

    /// A type with what its variables stand for; those that stand for nothing stay, or are `dyn`.
    pub fn resolve(&self, ty: &Type, to_dyn: bool) -> Type {
        let mut left = PARTS_MAX;
        self.resolve_some(ty, to_dyn, &mut left)
    }

    fn resolve_some(&self, ty: &Type, to_dyn: bool, left: &mut u32) -> Type {
        if *left == 0 {
            return Type::Dyn;
        }
        *left -= 1;
        match ty {
            Type::Var(variable) => match self.find(*variable) {
                Some(held) => self.resolve_some(held, to_dyn, left),
                None if to_dyn => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(of) => Type::list(self.resolve_some(of, to_dyn, left)),
            Type::Optional(of) => Type::optional(self.resolve_some(of, to_dyn, left)),
            Type::Type(of) => Type::Type(Arc::new(self.resolve_some(of, to_dyn, left))),
            Type::Map(key, value) => {
                let key = self.resolve_some(key, to_dyn, left);
                Type::map(key, self.resolve_some(value, to_dyn, left))
            }
            other => other.clone(),
        }
    }
}

fn with(ty: &Type, fresh: &[Type]) -> Type {
    match ty {
        Type::Param(n) => fresh.get(usize::from(*n)).cloned().unwrap_or(Type::Dyn),
        Type::List(of) => Type::list(with(of, fresh)),
        Type::Optional(of) => Type::optional(with(of, fresh)),
        Type::Type(of) => Type::Type(Arc::new(with(of, fresh))),
        Type::Map(key, value) => Type::map(with(key, fresh), with(value, fresh)),
        other => other.clone(),
    }
}

/// Whether the first is as general as the second, or more.
pub(crate) fn is_less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn, _) | (Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Var(_)) => false,
        (Type::Null, _) => false,
        (_, Type::Null) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => is_less_specific(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => is_less_specific(a, b) && is_less_specific(x, y),
        _ => a == b,
    }
}

//! What of an ad others can see, as text: ads of which it is equal match alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gristmill_classad::{ClassAd, Expr, Name, References};

/// Names that stand for an ad as a whole: whoever is given one may ask it for anything.
const WHOLE_ADS: [&str; 7] = ["target", "other", "my", "self", "parent", "root", "toplevel"];
/// What stands in the text of an expression that may ask for names which cannot be read off it: functions that evaluate text or
/// lists of expressions.
const HIDDEN: [&str; 4] = ["eval", "unparse", "countmatches", "debug"];

/// Whether everything that an expression may ask an ad for is among its references. It errs on the side of no.
pub(super) fn is_transparent(expression: &Expr, references: &References) -> bool {
    let names_whole_ad = references.any.iter().any(|name| WHOLE_ADS.contains(&name.folded()));
    if names_whole_ad {
        return false;
    }
    let text = expression.to_string().to_ascii_lowercase();
    !HIDDEN.iter().any(|hidden| text.contains(hidden)) && !has_root(&text)
}

/// Whether a `.name` stands there with nothing before it: the outermost ad's attribute, which is no reference.
fn has_root(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let after = bytes.get(at + 1).copied().unwrap_or(b' ');
        let joins = before.is_ascii_alphanumeric() || b"_)]}'\"".contains(&before);
        bytes[at] == b'.' && !joins && !after.is_ascii_digit()
    })
}

/// The attributes of the other ad that the expressions of these names may ask for; `None` if that cannot be known.
pub(super) fn asked(ad: &ClassAd, roots: &[&Name]) -> Option<BTreeSet<Name>> {
    let mut asked = BTreeSet::new();
    for root in roots {
        let Some(expression) = ad.lookup(root) else { continue };
        closure(ad, root)?;
        asked.extend(expression.external_references(ad));
    }
    Some(asked)
}

/// What matching can see of an ad through an attribute: the attribute with what is known filled in, and those of the own ad that it
/// still names. `None` if it may see more.
pub(super) fn closure(ad: &ClassAd, name: &Name) -> Option<BTreeMap<Name, Expr>> {
    let mut seen = BTreeMap::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        let Some(expression) = ad.lookup(&name).filter(|_| !seen.contains_key(&name)) else { continue };
        let flat = expression.flatten(ad);
        if flat.as_constant().is_none() {
            let references = flat.references();
            if !is_transparent(expression, &expression.references()) || !is_transparent(&flat, &references) {
                return None;
            }
            open.extend(references.any);
            open.extend(references.my);
        }
        seen.insert(name, flat);
    }
    Some(seen)
}

/// Writes what can be seen through an attribute to the end of a signature. `false` if that cannot be known.
pub(super) fn sign(signature: &mut String, ad: &ClassAd, name: &Name) -> bool {
    let Some(seen) = closure(ad, name) else { return false };
    // Attributes that are missing leave a mark too: the semicolon.
    for (name, expression) in seen {
        // Writing to a string does not fail.
        let _ = write!(signature, "{}={expression},", name.folded());
    }
    signature.push(';');
    true
}

/// The signature of a whole ad.
pub(super) fn whole(ad: &ClassAd) -> String {
    let sorted = ad.iter().map(|(name, expression)| (name.folded().to_owned(), expression)).collect::<BTreeMap<_, _>>();
    let mut signature = String::from("*");
    for (name, expression) in sorted {
        let _ = write!(signature, "{name}={expression},");
    }
    signature
}

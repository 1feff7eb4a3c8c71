//! Functions of lists.
//!
//! Elements are evaluated where the call stands, not where the list does: so has the library it.

use std::sync::Arc;

use super::{arguments, string_in};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::{BinaryOperator, Call, Expr};
use crate::operators;
use crate::value::Value;

pub(super) fn size(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let size = match value {
        Val::Plain(Value::Undefined) => return Val::UNDEFINED,
        Val::Plain(Value::String(text)) => text.len(),
        Val::Plain(_) => return Val::ERROR,
        Val::List(elements, _) => elements.len(),
        Val::Ad(scope) => evaluator.ad_len(scope),
    };
    Val::int(size as i64)
}

pub(super) fn member(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([item, list]) = arguments(evaluator, call, place) else { return Val::ERROR };
    if list.is_undefined() || item.is_undefined() {
        return Val::UNDEFINED;
    }
    if item.is_error() { Val::ERROR } else { contains(evaluator, &item, &list, BinaryOperator::Equal, place) }
}

pub(super) fn identical_member(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([item, list]) = arguments(evaluator, call, place) else { return Val::ERROR };
    if list.is_undefined() { Val::UNDEFINED } else { contains(evaluator, &item, &list, BinaryOperator::Is, place) }
}

fn contains(evaluator: &mut Evaluator<'_>, item: &Val, list: &Val, equal: BinaryOperator, place: Place<'_>) -> Val {
    let (Val::Plain(_), Val::List(elements, scope)) = (item, list) else { return Val::ERROR };
    for element in elements.iter() {
        let element = evaluator.eval(element, place.written_in(*scope));
        if matches!(operators::binary(equal, &element, item), Val::Plain(Value::Boolean(true))) {
            return Val::bool(true);
        }
    }
    Val::bool(false)
}

/// The list that is the only argument, or the value of the call if it is none.
fn only_list(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Result<Arc<[Expr]>, Val> {
    match arguments(evaluator, call, place) {
        // Where it is written does not matter: its elements must be numbers.
        Some([Val::List(elements, _)]) => Ok(elements),
        Some([value]) if value.is_undefined() => Err(Val::UNDEFINED),
        _ => Err(Val::ERROR),
    }
}

/// The numbers of a list: undefined elements are left out, anything else that is no number makes an error.
fn numbers(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Result<Vec<Val>, Val> {
    let elements = only_list(evaluator, call, place)?;
    let mut numbers = Vec::new();
    for element in elements.iter() {
        match evaluator.eval(element, place) {
            Val::Plain(Value::Undefined) => {}
            value if value.truth().is_some() => numbers.push(value),
            _ => return Err(Val::ERROR),
        }
    }
    Ok(numbers)
}

fn total(numbers: Vec<Val>) -> Val {
    let add = |total: Val, number: Val| operators::binary(BinaryOperator::Add, &total, &number);
    numbers.into_iter().reduce(add).unwrap_or(Val::int(0))
}

pub(super) fn sum(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    numbers(evaluator, call, place).map_or_else(|value| value, total)
}

pub(super) fn avg(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match numbers(evaluator, call, place) {
        Ok(numbers) if numbers.is_empty() => Val::int(0),
        Ok(numbers) => {
            let count = Val::real(numbers.len() as f64);
            operators::binary(BinaryOperator::Divide, &total(numbers), &count)
        }
        Err(value) => value,
    }
}

pub(super) fn min(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    extreme(evaluator, call, place, BinaryOperator::Less)
}

pub(super) fn max(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    extreme(evaluator, call, place, BinaryOperator::Greater)
}

fn extreme(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, better: BinaryOperator) -> Val {
    let numbers = match numbers(evaluator, call, place) {
        Ok(numbers) => numbers,
        Err(value) => return value,
    };
    let choose = |best: Val, number: Val| {
        // In the library a comparison leaves both numbers of the same type.
        let (best, number) = alike(best, number);
        let is_better = operators::binary(better, &number, &best);
        if is_better.truth() == Some(true) { number } else { best }
    };
    numbers.into_iter().reduce(choose).unwrap_or(Val::UNDEFINED)
}

/// Two numbers as reals if one is, as integers otherwise.
fn alike(left: Val, right: Val) -> (Val, Val) {
    let is_real = |value: &Val| matches!(value, Val::Plain(Value::Real(_)));
    let any_real = is_real(&left) || is_real(&right);
    let convert = |value: Val| match &value {
        Val::Plain(number) if any_real => number.number().map_or(value, Val::real),
        Val::Plain(Value::Boolean(truth)) => Val::int(i64::from(*truth)),
        _ => value,
    };
    (convert(left), convert(right))
}

pub(super) fn any_compare(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    compare_each(evaluator, call, place, true)
}

pub(super) fn all_compare(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    compare_each(evaluator, call, place, false)
}

/// Compares elements until one gives `decisive`, which is the result then.
fn compare_each(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, decisive: bool) -> Val {
    let [operator, list, with] = call.arguments.as_slice() else { return Val::ERROR };
    let operator = match evaluator.eval(operator, place) {
        Val::Plain(Value::Undefined) => return Val::UNDEFINED,
        operator => match string_in(&operator).and_then(comparison) {
            Some(operator) => operator,
            None => return Val::ERROR,
        },
    };
    let elements = match evaluator.eval(list, place) {
        Val::Plain(Value::Undefined) => return Val::UNDEFINED,
        Val::List(elements, _) => elements,
        _ => return Val::ERROR,
    };
    let with = evaluator.eval(with, place);
    for element in elements.iter() {
        let element = evaluator.eval(element, place);
        match operators::binary(operator, &element, &with) {
            Val::Plain(Value::Boolean(value)) if value == decisive => return Val::bool(decisive),
            Val::Plain(Value::Boolean(_)) => {}
            // Nobody knows about this one. The library asks no further and says no, of "any" as of "all".
            Val::Plain(Value::Undefined) => return Val::bool(false),
            _ => return Val::ERROR,
        }
    }
    Val::bool(!decisive)
}

fn comparison(sign: &str) -> Option<BinaryOperator> {
    Some(match sign {
        "<" => BinaryOperator::Less,
        "<=" => BinaryOperator::LessOrEqual,
        "!=" => BinaryOperator::NotEqual,
        "==" => BinaryOperator::Equal,
        ">" => BinaryOperator::Greater,
        ">=" => BinaryOperator::GreaterOrEqual,
        "is" => BinaryOperator::Is,
        "isnt" => BinaryOperator::Isnt,
        _ => return None,
    })
}

/// The first argument evaluated in each ad of the list that is the second.
pub(super) fn eval_in_each_context(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match in_each_context(evaluator, call, place) {
        Ok(values) => {
            let elements = values.into_iter().map(|value| evaluator.expression_of(value)).collect();
            evaluator.made_list(elements)
        }
        Err(value) => value,
    }
}

/// In how many ads of the list that is the second argument the first one is true.
pub(super) fn count_matches(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match in_each_context(evaluator, call, place) {
        Ok(values) => Val::int(values.iter().filter(|value| value.truth() == Some(true)).count() as i64),
        // There are no ads: nothing matches.
        Err(value) if value.is_undefined() => Val::int(0),
        Err(value) => value,
    }
}

fn in_each_context(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Result<Vec<Val>, Val> {
    let [expression, list] = call.arguments.as_slice() else { return Err(Val::ERROR) };
    // An attribute that is found where the call stands says what to evaluate; one that is not, is looked for in each ad.
    let definition = evaluator.definition(expression, place);
    let (expression, there) = match &definition {
        Some((definition, written)) => (definition.expression(), place.written_in(*written)),
        None => (expression, place),
    };
    let (elements, scope) = match evaluator.eval(list, place) {
        Val::List(elements, scope) => (elements, scope),
        value if value.is_undefined() => return Err(Val::UNDEFINED),
        _ => return Err(Val::ERROR),
    };
    let mut values = Vec::new();
    for element in elements.iter() {
        let value = match evaluator.eval(element, place.written_in(scope)) {
            Val::Ad(scope) => {
                let context = evaluator.context(scope);
                evaluator.eval(expression, there.looking_in(context))
            }
            value if value.is_undefined() => Val::UNDEFINED,
            _ => Val::ERROR,
        };
        if evaluator.is_exhausted() {
            return Err(Val::ERROR);
        }
        values.push(value);
    }
    Ok(values)
}

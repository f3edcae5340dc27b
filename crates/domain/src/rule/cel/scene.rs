//! One event, as expressions see it, and the evaluation of expressions over it.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cel::{Context, Env, ExecutionError, FunctionContext};
use serde_json::{Number, Value};

use super::cost::{self, Dimensions, EXPRESSION_MAX};
use super::{Expression, Patterns};
use crate::rule::pattern::TEXT_TOO_LONG;
use crate::{EventFacts, Severity};

/// What all conditions and expressions over one event may cost together: about a second at worst,
/// and thousands of usual ones.
const EVENT_MAX: f64 = 1e8;

/// What an expression may cost by the size of the whole event, before it is asked how large the
/// parts are that it names.
const ROUGHLY_MAX: f64 = EXPRESSION_MAX / 50.0;

/// The functions there are. Optional values are left out; `has` does what they would.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// An event to evaluate expressions over: one for all rules that are held against it, and for whom
/// they name. It is prepared when the first expression comes, which costs more than most
/// expressions do: with a second scene for the audience it was 5 % of the whole pipeline, Postgres
/// and all.
pub struct Scene<'a> {
    pub(in crate::rule) event: EventFacts<'a>,
    /// Without `event.payload`, the other name of `event.data`, and with it: a copy of everything,
    /// which few expressions ask for.
    prepared: [OnceCell<Prepared>; 2],
    /// What is left of [`EVENT_MAX`].
    budget: Cell<f64>,
}

struct Prepared {
    context: Context<'static, 'static>,
    dimensions: Dimensions,
    patterns: CurrentPatterns,
}

/// The patterns of the expression that is being evaluated.
type CurrentPatterns = Arc<Mutex<Arc<Patterns>>>;

impl<'a> Scene<'a> {
    pub fn of(event: &EventFacts<'a>) -> Self {
        Self {
            event: *event,
            prepared: [OnceCell::new(), OnceCell::new()],
            budget: Cell::new(EVENT_MAX),
        }
    }

    /// Evaluates an expression, or says why it has no answer. The text holds no content of the
    /// event.
    pub(in crate::rule) fn evaluate(&self, expression: &Expression) -> Result<cel::Value, String> {
        let names_payload = expression.names_payload;
        let prepared = &self.prepared[usize::from(names_payload)];
        let prepared = prepared.get_or_init(|| prepare(&self.event, names_payload));
        self.pay_for(expression, prepared.dimensions)?;
        let patterns = Arc::clone(&expression.patterns);
        *prepared
            .patterns
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = patterns;
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            expression.program.execute(&prepared.context)
        }));
        match evaluated {
            Ok(answer) => answer.map_err(|error| explain(&error, &expression.source)),
            Err(_panic) => Err("could not be evaluated".to_owned()),
        }
    }

    fn pay_for(&self, expression: &Expression, dimensions: Dimensions) -> Result<(), String> {
        let (tree, patterns) = (expression.program.expression(), &expression.patterns);
        let mut cost = cost::estimate(tree, dimensions, patterns);
        if cost > ROUGHLY_MAX {
            let payload = self.event.payload;
            let (closely, measured) = cost::estimate_closely(tree, dimensions, patterns, payload);
            self.pay(measured)?;
            cost = closely;
        }
        if cost > EXPRESSION_MAX {
            return Err("could take too long for an event so large".to_owned());
        }
        self.pay(cost)
    }

    /// Takes from the event's budget what something may cost, before it is done.
    pub(in crate::rule) fn pay(&self, cost: f64) -> Result<(), String> {
        let left = self.budget.get() - cost;
        if left < 0.0 {
            return Err("is not evaluated: the rules took too long for this event".to_owned());
        }
        self.budget.set(left);
        Ok(())
    }
}

fn prepare(event: &EventFacts<'_>, names_payload: bool) -> Prepared {
    let payload = to_cel(event.payload);
    let severity = event.severity.map(Severity::as_str);
    let other_name = names_payload.then(|| ("payload", payload.clone()));
    let fields = HashMap::from([
        ("id", event.event_id.into()),
        ("type", event.kind.into()),
        ("producer", event.producer.into()),
        ("severity", severity.map_or(cel::Value::Null, Into::into)),
        ("created_at", cel::Value::Timestamp(event.created_at.into())),
        ("data", payload),
    ]);
    let fields: HashMap<&str, cel::Value> = fields.into_iter().chain(other_name).collect();
    let dimensions = [event.event_id, event.kind, event.producer]
        .into_iter()
        .map(Dimensions::of_text)
        .fold(Dimensions::of(event.payload), Dimensions::and);
    let patterns = CurrentPatterns::default();
    let known = Arc::clone(&patterns);
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.add_variable_from_value("event", fields);
    let matches = move |cx: &FunctionContext<'_, '_>,
                        text: cel::extractors::This<Arc<String>>,
                        pattern: Arc<String>| {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(pattern.as_str()).map(|it| it.is_in(&text.0));
        match found {
            Some(Ok(is_in)) => Ok(is_in),
            Some(Err(detail)) => Err(cx.error(detail)),
            None => Err(cx.error("the pattern is not known")),
        }
    };
    // The standard functions have no `matches`, for theirs compiles its pattern at every call.
    let added = context.add_function("matches", matches);
    debug_assert!(added.is_ok(), "`matches` is free");
    Prepared {
        context,
        dimensions,
        patterns,
    }
}

/// Recursion ends with the value, which is at most 128 levels deep.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number_to_cel(number),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, item)| (key.as_str(), to_cel(item)))
            .collect::<HashMap<_, _>>()
            .into(),
    }
}

fn number_to_cel(number: &Number) -> cel::Value {
    if let Some(whole) = number.as_i64() {
        return whole.into();
    }
    match number.as_u64() {
        Some(whole) => whole.into(),
        None => number.as_f64().unwrap_or_default().into(),
    }
}

/// Says what went wrong without a value of the event: only names that the rule itself has.
fn explain(error: &ExecutionError, source: &str) -> String {
    if let ExecutionError::NoSuchKey(key) = error {
        return if source.contains(key.as_str()) {
            format!("the event has no `{key}`")
        } else {
            "the event has no field that is asked for".to_owned()
        };
    }
    if let ExecutionError::NoSuchOverload(overload) = error {
        let types = overload.argument_types().join(" and ");
        return format!("`{}` does not go with {types}", overload.function());
    }
    let detail = match error {
        ExecutionError::UndeclaredReference(_) => "it names what is not there",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero"
        }
        ExecutionError::Overflow(..) => "a number is too large",
        ExecutionError::IndexOutOfBounds(_) => "a list is too short",
        ExecutionError::FunctionError { message, .. } if message == TEXT_TOO_LONG => TEXT_TOO_LONG,
        ExecutionError::FunctionError { function, .. } => {
            return format!("`{function}` could not take what it was given");
        }
        _ => "two values do not go together",
    };
    detail.to_owned()
}

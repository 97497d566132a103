//! The row of an Event, in the shape of either API group. Source: `printEvent`.

use super::{Column, NAME, age, text_or, timestamp};
use jiff::Timestamp;
use serde_json::Value;

pub const COLUMNS: &[Column] = &[
    Column::text("Last Seen", "When this happened last."),
    Column::text("Type", "Normal or Warning."),
    Column::text("Reason", "Short machine-readable cause."),
    Column::text("Object", "Kind and name of what the event is about."),
    Column::text("Subobject", "Part of the object the event is about.").wide(),
    Column::text("Source", "Component that reports the event.").wide(),
    Column::text("Message", "What happened."),
    Column::text("First Seen", "When this happened first.").wide(),
    Column::number("Count", "How often this happened.").wide(),
    Column { format: "name", ..NAME }.wide(),
];

pub fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let either = |first: &'static str, second: &'static str| {
        if event[first].is_null() { &event[second] } else { &event[first] }
    };
    let happened = timestamp(&event["eventTime"]);
    let first = timestamp(either("firstTimestamp", "deprecatedFirstTimestamp")).or(happened);
    let last = timestamp(&event["series"]["lastObservedTime"])
        .or(timestamp(either("lastTimestamp", "deprecatedLastTimestamp")))
        .or(first);
    let count = event["series"]["count"].as_i64().or(either("count", "deprecatedCount").as_i64());
    let object = either("involvedObject", "regarding");
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let target = match object["name"].as_str().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let message = either("message", "note").as_str().unwrap_or_default().trim();
    vec![
        age(last, now).into(),
        text_or(&event["type"], ""),
        text_or(&event["reason"], ""),
        target.into(),
        text_or(&object["fieldPath"], ""),
        source(event).into(),
        message.into(),
        age(first, now).into(),
        count.filter(|it| *it != 0).unwrap_or(1).into(),
        super::name(event),
    ]
}

fn source(event: &Value) -> String {
    let old = if event["source"].is_object() { &event["source"] } else { &event["deprecatedSource"] };
    let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let component = text(&old["component"])
        .or_else(|| text(&event["reportingComponent"]))
        .or_else(|| text(&event["reportingController"]));
    let host = text(&old["host"])
        .or_else(|| text(&event["reportingInstance"]).filter(|_| old["component"].is_null()));
    [component, host].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

//! What the types cannot say of bodies: forms have no null, and what is left empty in one is not given; which fields
//! exclude each other; which calls need no body. So each body has two schemas, for JSON and as a form.

use serde_json::{Map, Value, json};

/// Those that calls take.
const BODIES: [&str; 5] = [
    "Fields",
    "NoUserFields",
    "ChangeFields",
    "StopFields",
    "TokenFields",
];
/// Where a call's body names its schema.
const OF_FORM: &str = "/content/application~1x-www-form-urlencoded/schema/$ref";

pub(super) fn describe(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    for name in BODIES {
        let mut form = as_form(schemas[name].clone());
        relate(name, &mut schemas[name], &json!({ "type": "null" }));
        relate(name, &mut form, &json!({ "const": "" }));
        if name == "StopFields" {
            // What it does not look at; in a form each is there once.
            schemas[name]["additionalProperties"] = true.into();
            form["additionalProperties"] = json!({ "type": "string" });
        }
        schemas[format!("{name}Form")] = form;
    }
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    for body in operations.filter_map(|(_, operation)| operation.get_mut("requestBody")) {
        if let Some(Value::String(reference)) = body.pointer_mut(OF_FORM) {
            let is_needed = !reference.ends_with("/StopFields");
            reference.push_str("Form");
            body["required"] = is_needed.into();
        }
    }
}

/// How the fields depend on each other. `absent` is how one looks that may as well not be there.
fn relate(name: &str, schema: &mut Value, absent: &Value) {
    match name {
        "Fields" => {
            schema["oneOf"] = one_of(&["target_user_id", "email", "public_id"], absent);
        }
        "ChangeFields" => schema["anyOf"] = any_of(&["access", "duration"], absent),
        _ => {}
    }
}

/// Exactly one of these is given.
fn one_of(names: &[&str], absent: &Value) -> Value {
    let given = json!({ "not": absent });
    let only = |one: &&str| {
        let property = |name: &&str| {
            let schema = if name == one { &given } else { absent };
            ((*name).to_owned(), schema.clone())
        };
        let properties: Map<_, _> = names.iter().map(property).collect();
        json!({ "required": [one], "properties": properties })
    };
    names.iter().map(only).collect()
}

/// At least one of these is given.
fn any_of(names: &[&str], absent: &Value) -> Value {
    let has = |name: &&str| {
        let properties = json!({ *name: { "not": absent } });
        json!({ "required": [name], "properties": properties })
    };
    names.iter().map(has).collect()
}

fn as_form(mut schema: Value) -> Value {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    if let Some(title) = schema["title"].as_str() {
        schema["title"] = format!("{title}Form").into();
    }
    schema["additionalProperties"] = json!({ "const": "" });
    if let Some(schema) = schema.as_object_mut() {
        // They are written as JSON.
        schema.remove("examples");
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        not_null(property);
        if !required.contains(&name.as_str().into()) {
            *property = json!({ "anyOf": [property.take(), { "const": "" }] });
        }
    }
    schema
}

/// Nothing in a form or in a query is null.
pub(super) fn not_null(schema: &mut Value) {
    let list = |schema: &mut Value, key: &str, keep: fn(&Value) -> bool| {
        let list = schema.get_mut(key)?.as_array_mut()?;
        list.retain(keep);
        match &list[..] {
            [one] => Some(one.clone()),
            _ => None,
        }
    };
    if let Some(one) = list(schema, "oneOf", |one| one["type"] != "null") {
        *schema = one;
    }
    if let Some(one) = list(schema, "type", |one| one != "null") {
        schema["type"] = one;
    }
    list(schema, "enum", |one| !one.is_null());
}

use std::time::Instant;
fn main() {
    let t = Instant::now();
    let defs = schema::builtin();
    println!("builtin {:?} {}", t.elapsed(), defs.iter().count());
    let pod = std::fs::read("/work/shared/data/kubernetes-1.36/roundtrip/core.v1.Pod.json").unwrap();
    let def = defs.of_kind("", "v1", "Pod").unwrap();
    let n = 200;
    let d = schema::decode_json(&pod, schema::FieldValidation::Warn).unwrap();
    println!("{} bytes", serde_json::to_vec(&d.value).unwrap().len());
    for mode in [schema::FieldValidation::Ignore, schema::FieldValidation::Strict] {
        let t = Instant::now();
        for _ in 0..n {
            std::hint::black_box(schema::decode_json(&pod, mode).unwrap());
        }
        println!("decode {:?}", t.elapsed() / n);
        let docs: Vec<_> = (0..n).map(|_| schema::decode_json(&pod, mode).unwrap()).collect();
        let t = Instant::now();
        let mut out: Vec<_> = docs.into_iter().map(|d| schema::conform(defs, def, d, mode).unwrap()).collect();
        println!("conform {:?} {:?} {}", t.elapsed() / n, out[0].warnings, out[0].value.to_string().len());
        let t = Instant::now();
        for o in &mut out {
            schema::apply_defaults(defs, def, &mut o.value);
        }
        println!("defaults {:?}", t.elapsed() / n);
    }
}
#[cfg(test)]
mod t {}

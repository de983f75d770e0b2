#![no_main]

kmend_fuzz::target!(splice, 8 << 20, 64);

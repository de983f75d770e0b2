#![no_main]

kmend_fuzz::target!(walk, 16 << 20, 16);

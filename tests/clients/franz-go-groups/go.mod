// Only says where the module is: each version has a file of its own.
module kmend.test/franzgogroups

go 1.26.0

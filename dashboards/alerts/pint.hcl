# What pint, the linter of rules, is not to look at, and why.
checks {
  disabled = [
    "rule/dependency", # groups differ in how often they are evaluated; a value that is one evaluation old is good enough
    "group/interval",  # the sums of an hour are read by range functions only, which a gap of an hour does not hurt
    "promql/nan",      # a share of no runs is no number, and no comparison with it holds
  ]
}

parser {
  include = [".*.rules.yaml"]
}

rule {
  match {
    name = "OtelprobeWatchdog"
  }
  disable = ["alerts/comparison"] # it is meant to fire always
}

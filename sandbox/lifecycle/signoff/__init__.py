"""From a verified change to a decision: `requests` makes the bytes that people sign, `signing` signs and judges,
`votes` keeps votes, `policies` finds whose rules apply, `rulings` asks `decide`, `views` and `reviews` show it all."""

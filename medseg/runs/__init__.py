"""medseg.runs"""
